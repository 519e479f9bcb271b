#include "base/target.h"

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"

namespace facet {
namespace {

// Of a DNS name; an address is shorter.
constexpr size_t kHostBytesMax = 253;

bool IsHost(absl::string_view host) {
  if (host.empty() || host.size() > kHostBytesMax) return false;
  for (const char c : host) {
    if (!absl::ascii_isalnum(c) && !absl::StrContains(".-_:%", c)) return false;
  }
  return true;
}

}  // namespace

absl::StatusOr<Target> ParseTarget(absl::string_view text) {
  const auto wrong = [&](absl::string_view what) {
    return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" ", what));
  };
  Target target;
  absl::string_view rest = text;
  target.all_addresses = absl::ConsumePrefix(&rest, "dns:///");
  const size_t colon = rest.rfind(':');
  if (colon == rest.npos) return wrong("is not host:port");
  absl::string_view host = rest.substr(0, colon);
  const bool bracketed = absl::ConsumePrefix(&host, "[");
  if (bracketed != absl::ConsumeSuffix(&host, "]") || bracketed != absl::StrContains(host, ':') ||
      !IsHost(host)) {
    return wrong("is not host:port (an IPv6 address stands in brackets)");
  }
  if (!absl::SimpleAtoi(rest.substr(colon + 1), &target.port) || target.port < 1 ||
      target.port > 65535) {
    return wrong("has no port in [1, 65535]");
  }
  target.host = std::string(host);
  return target;
}

absl::StatusOr<Target> ParseOneTarget(absl::string_view text) {
  ASSIGN_OR_RETURN(Target target, ParseTarget(text));
  if (target.all_addresses) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", text, "\" stands for several addresses; name one as host:port"));
  }
  return target;
}

bool IsWildcardHost(absl::string_view host) {
  return host.empty() || host == "0.0.0.0" || host == "::" || host == "*";
}

}  // namespace facet
