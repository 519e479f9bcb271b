#ifndef FACET_BASE_HTTP_URL_H_
#define FACET_BASE_HTTP_URL_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace facet {

// An address in its parts: https, or http on loopback where that is taken.
struct HttpUrl {
  bool tls = true;
  std::string host;  // Lower case: a name or an IPv4 address.
  std::string port = "443";
  std::string target;  // Path and query, "/" at least.

  // "example.com", with the port where it is not the usual one: what a Host header says.
  std::string Authority() const;
  bool SameOrigin(const HttpUrl& other) const {
    return tls == other.tls && host == other.host && port == other.port;
  }
};

// INVALID_ARGUMENT says what is wrong: another scheme, a user's name, a host that is no name, bytes
// that no URL has. IPv6 addresses are not taken. The part after # is left out.
absl::StatusOr<HttpUrl> ParseHttpsUrl(absl::string_view url);

// Also http://, of this machine alone: localhost or 127.x.y.z. For servers that tests and operators
// run themselves.
absl::StatusOr<HttpUrl> ParseHttpsOrLoopbackUrl(absl::string_view url);

// Where a redirect from `from` leads: `location` is an absolute path or an address, which is https
// unless `from` was not.
absl::StatusOr<HttpUrl> ParseRedirect(const HttpUrl& from, absl::string_view location);

}  // namespace facet

#endif  // FACET_BASE_HTTP_URL_H_
