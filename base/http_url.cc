#include "base/http_url.h"

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

constexpr absl::string_view kHttps = "https://";
constexpr absl::string_view kHttp = "http://";
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

// `rest` is what follows the scheme.
absl::StatusOr<HttpUrl> ParseParts(bool tls, absl::string_view rest) {
  rest = rest.substr(0, rest.find('#'));
  const absl::string_view authority = rest.substr(0, rest.find_first_of("/?\\"));
  HttpUrl parts;
  parts.tls = tls;
  parts.port = tls ? "443" : "80";
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

bool IsLoopback(const std::string& host) {
  // Digits and dots alone: "127.example.com" is a name of somebody else.
  return host == "localhost" || (absl::StartsWith(host, "127.") && absl::c_all_of(host, [](char c) {
                                   return absl::ascii_isdigit(c) || c == '.';
                                 }));
}

}  // namespace

std::string HttpUrl::Authority() const {
  return port == (tls ? "443" : "80") ? host : absl::StrCat(host, ":", port);
}

absl::StatusOr<HttpUrl> ParseHttpsUrl(absl::string_view url) {
  RETURN_IF_ERROR(CheckCharacters(url));
  if (!absl::StartsWithIgnoreCase(url, kHttps)) {
    return absl::InvalidArgumentError("the address does not begin with https://");
  }
  return ParseParts(/*tls=*/true, url.substr(kHttps.size()));
}

absl::StatusOr<HttpUrl> ParseHttpsOrLoopbackUrl(absl::string_view url) {
  if (!absl::StartsWithIgnoreCase(url, kHttp)) return ParseHttpsUrl(url);
  RETURN_IF_ERROR(CheckCharacters(url));
  ASSIGN_OR_RETURN(HttpUrl parts, ParseParts(/*tls=*/false, url.substr(kHttp.size())));
  if (IsLoopback(parts.host)) return parts;
  return absl::InvalidArgumentError(absl::StrCat(
      "the address begins with http://, which is for this machine alone, not for ", parts.host));
}

absl::StatusOr<HttpUrl> ParseRedirect(const HttpUrl& from, absl::string_view location) {
  if (!absl::StartsWith(location, "/") || absl::StartsWith(location, "//")) {
    return from.tls ? ParseHttpsUrl(location) : ParseHttpsOrLoopbackUrl(location);
  }
  RETURN_IF_ERROR(CheckCharacters(location));
  HttpUrl url = from;
  url.target = std::string(location.substr(0, location.find('#')));
  return url;
}

}  // namespace facet
