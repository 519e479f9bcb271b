#ifndef FACET_ROUTER_MEDIA_MEDIA_FETCHER_H_
#define FACET_ROUTER_MEDIA_MEDIA_FETCHER_H_

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/address.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/http_client.h"
#include "router/media/media_part.h"

namespace facet {

struct MediaFetcherOptions {
  bool enabled = false;
  // Hosts that may be asked, redirects included: names as they stand in URLs, ".example.com" for
  // all below it, "*" for all.
  std::vector<std::string> hosts;
  std::string ca_file;      // Whose certificates are trusted; empty: the system's.
  int timeout_ms = 10'000;  // Of one file, redirects included.
  int redirects_max = 3;
  // Addresses that may be asked. For tests, whose servers are on loopback.
  std::function<bool(const boost::asio::ip::address&)> address_allowed;  // empty: IsPublicAddress
};

// INVALID_ARGUMENT names the flag that is wrong.
absl::Status CheckFetcherOptions(const MediaFetcherOptions& options);

// Fetches files by https, for clients who may name any URL: only from hosts that are allowed, and
// only from public addresses, which are checked after each resolution and used as they were
// checked. Safe to use from any thread.
class MediaFetcher {
 public:
  // REQUIRES: CheckFetcherOptions.
  explicit MediaFetcher(MediaFetcherOptions options);

  // The largest file of a kind that any model takes.
  static int64_t BytesMax(MediaPart::Kind kind);

  // The file at `url`, of at most `bytes_max`. INVALID_ARGUMENT says why there is none: a host or
  // an address that is not allowed, an answer other than 200, too many bytes, redirects or seconds.
  // Runs on the caller's strand.
  boost::asio::awaitable<absl::StatusOr<std::string>> Fetch(std::string url, int64_t bytes_max);

 private:
  const MediaFetcherOptions options_;
  const std::unique_ptr<HttpClient> client_;  // Null if nothing is fetched.
};

}  // namespace facet

#endif  // FACET_ROUTER_MEDIA_MEDIA_FETCHER_H_
