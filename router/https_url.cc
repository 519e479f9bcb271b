#include "router/https_url.h"

#include <utility>

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace facet {
namespace {

constexpr absl::string_view kScheme = "https://";
constexpr size_t kUrlBytesMax = 8192;
constexpr size_t kHostBytesMax = 253;  // of a name in DNS

absl::Status CheckCharacters(absl::string_view text) {
  if (text.size() > kUrlBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("the address has more than ", kUrlBytesMax, " bytes"));
  }
  // Blanks and line breaks would end the line of the request that they stand in.
  if (!absl::c_all_of(text, [](char c) { return c > ' ' && c < 0x7f; })) {
    return absl::InvalidArgumentError("the address has a byte that no URL has");
  }
  return absl::OkStatus();
}

absl::Status CheckHost(absl::string_view host) {
  const bool fits =
      !host.empty() && host.size() <= kHostBytesMax &&
      absl::c_all_of(host, [](char c) { return absl::ascii_isalnum(c) || c == '.' || c == '-'; });
  if (fits) return absl::OkStatus();
  return absl::InvalidArgumentError("the address has no host name");
}

}  // namespace

absl::StatusOr<HttpsUrl> ParseHttpsUrl(absl::string_view url) {
  RETURN_IF_ERROR(CheckCharacters(url));
  if (!absl::StartsWithIgnoreCase(url, kScheme)) {
    return absl::InvalidArgumentError("the address does not begin with https://");
  }
  absl::string_view rest = url.substr(kScheme.size());
  rest = rest.substr(0, rest.find('#'));
  const absl::string_view authority = rest.substr(0, rest.find_first_of("/?\\"));
  HttpsUrl parts;
  parts.target = std::string(rest.substr(authority.size()));
  if (parts.target.empty() || parts.target[0] != '/') parts.target.insert(0, "/");
  const size_t colon = authority.find(':');
  parts.host = absl::AsciiStrToLower(authority.substr(0, colon));
  RETURN_IF_ERROR(CheckHost(parts.host));
  if (colon == authority.npos) return parts;
  int port;
  if (!absl::SimpleAtoi(authority.substr(colon + 1), &port) || port < 1 || port > 65535) {
    return absl::InvalidArgumentError("the address has a port that is no number from 1 to 65535");
  }
  parts.port = absl::StrCat(port);
  return parts;
}

absl::StatusOr<HttpsUrl> ParseRedirect(const HttpsUrl& from, absl::string_view location) {
  if (!absl::StartsWith(location, "/") || absl::StartsWith(location, "//")) {
    return ParseHttpsUrl(location);
  }
  RETURN_IF_ERROR(CheckCharacters(location));
  HttpsUrl url = from;
  url.target = std::string(location.substr(0, location.find('#')));
  return url;
}

}  // namespace facet
