#ifndef FACET_ROUTER_ADMISSION_BEARER_H_
#define FACET_ROUTER_ADMISSION_BEARER_H_

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/string_view.h"

namespace facet {

// Leaves of "Bearer KEY", the value of an Authorization header, the key. False, and nothing is
// changed, if it is of another scheme. The scheme's name is written as one likes (RFC 9110).
inline bool ConsumeBearer(absl::string_view& authorization) {
  constexpr absl::string_view kScheme = "Bearer ";
  if (!absl::StartsWithIgnoreCase(authorization, kScheme)) return false;
  authorization = absl::StripAsciiWhitespace(authorization.substr(kScheme.size()));
  return true;
}

}  // namespace facet

#endif  // FACET_ROUTER_ADMISSION_BEARER_H_
