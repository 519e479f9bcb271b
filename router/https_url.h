#ifndef FACET_ROUTER_HTTPS_URL_H_
#define FACET_ROUTER_HTTPS_URL_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace facet {

// An https address in its parts.
struct HttpsUrl {
  std::string host;  // Lower case: a name or an IPv4 address.
  std::string port = "443";
  std::string target;  // Path and query, "/" at least.
};

// INVALID_ARGUMENT says what is wrong: another scheme, a user's name, a host that is no name, bytes
// that no URL has. IPv6 addresses are not taken. The part after # is left out.
absl::StatusOr<HttpsUrl> ParseHttpsUrl(absl::string_view url);

// Where a redirect from `from` leads: `location` is an https address or an absolute path.
absl::StatusOr<HttpsUrl> ParseRedirect(const HttpsUrl& from, absl::string_view location);

}  // namespace facet

#endif  // FACET_ROUTER_HTTPS_URL_H_
