#include "router/media/public_address.h"

#include <cstdint>

namespace facet {
namespace {

namespace ip = boost::asio::ip;

struct Network {
  uint32_t address;
  int bits;
};

constexpr uint32_t V4(uint32_t a, uint32_t b, uint32_t c) { return a << 24 | b << 16 | c << 8; }

// What is not reachable from everywhere, of IPv4.
constexpr Network kNotPublic[] = {
    {V4(0, 0, 0), 8},        // this network
    {V4(10, 0, 0), 8},       // private
    {V4(100, 64, 0), 10},    // behind carriers
    {V4(127, 0, 0), 8},      // loopback
    {V4(169, 254, 0), 16},   // link-local, cloud metadata
    {V4(172, 16, 0), 12},    // private
    {V4(192, 0, 0), 24},     // protocols
    {V4(192, 0, 2), 24},     // documentation
    {V4(192, 88, 99), 24},   // 6to4
    {V4(192, 168, 0), 16},   // private
    {V4(198, 18, 0), 15},    // benchmarks
    {V4(198, 51, 100), 24},  // documentation
    {V4(203, 0, 113), 24},   // documentation
    {V4(224, 0, 0), 3},      // multicast, reserved, broadcast
};

bool IsPublicV4(uint32_t address) {
  for (const Network& network : kNotPublic) {
    if ((address ^ network.address) >> (32 - network.bits) == 0) return false;
  }
  return true;
}

// Of IPv6, 2000::/3 is given out; of that, 2001::/23 is for protocols (Teredo among them),
// 2001:db8::/32 and 3fff::/20 for documentation, 2002::/16 leads to IPv4 addresses.
bool IsPublicV6(const ip::address_v6::bytes_type& bytes) {
  const uint32_t first = uint32_t{bytes[0]} << 8 | bytes[1];
  const uint32_t second = uint32_t{bytes[2]} << 8 | bytes[3];
  if (first >> 13 != 1) return false;
  if (first == 0x2001 && (second < 0x200 || second == 0xdb8)) return false;
  if (first == 0x2002) return false;
  return !(first == 0x3fff && second < 0x1000);
}

}  // namespace

bool IsPublicAddress(const ip::address& address) {
  return address.is_v4() ? IsPublicV4(address.to_v4().to_uint())
                         : IsPublicV6(address.to_v6().to_bytes());
}

}  // namespace facet
