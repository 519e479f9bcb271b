#ifndef FACET_ROUTER_MEDIA_PUBLIC_ADDRESS_H_
#define FACET_ROUTER_MEDIA_PUBLIC_ADDRESS_H_

#include <boost/asio/ip/address.hpp>

namespace facet {

// Whether an address is one of the public Internet: not loopback, private, link-local, multicast,
// reserved, or an IPv6 address that leads to an IPv4 one (RFC 6890 and the registries it names).
bool IsPublicAddress(const boost::asio::ip::address& address);

}  // namespace facet

#endif  // FACET_ROUTER_MEDIA_PUBLIC_ADDRESS_H_
