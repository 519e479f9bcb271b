#ifndef FACET_OPS_CLI_HUB_HUB_CLIENT_H_
#define FACET_OPS_CLI_HUB_HUB_CLIENT_H_

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/http_client.h"
#include "base/http_url.h"

namespace facet {

struct HubOptions {
  HttpUrl endpoint;             // Its target is put in front of each path.
  std::string token;            // Empty: none. Shown to the endpoint alone, and only when it asks.
  int silence_max_ms = 30'000;  // Longest wait for the next bytes.
  int failures_max = 8;         // In a row without a byte of progress; then we give up.
  int tries_max = 1000;         // Of one file, whatever progress they make.
  int pause_ms = 1000;  // After the first failure; doubled after each further one, 30 s at most.
};

// INVALID_ARGUMENT names the flag or the variable that is wrong.
absl::StatusOr<HubOptions> MakeHubOptions(absl::string_view endpoint, absl::string_view token);

// Asks a hub for its lists and files: follows redirects, shows the token where it is asked for, and
// tries again what may go better another time. For one thread, which it blocks.
class HubClient {
 public:
  explicit HubClient(HubOptions options);

  // One try. `target` is a path below the endpoint, or an address on it. `reader` sees only an
  // answer of status 200, 206 or 416, not redirects on the way. UNAVAILABLE and DEADLINE_EXCEEDED
  // may go better later; NOT_FOUND, PERMISSION_DENIED and others will not.
  absl::Status BlockingGet(absl::string_view target,
                           const std::map<std::string, std::string>& headers,
                           HttpAnswerReader& reader);

  // The body at `target`, of at most `bytes_max`, and its Link header; tries repeatedly.
  struct Text {
    std::string body, link;
  };
  absl::StatusOr<Text> BlockingGetText(absl::string_view target, uint64_t bytes_max);

  // Calls `attempt` until it succeeds, fails for good, or has failed too often in a row. It sets
  // `*progressed` where it got further than before.
  absl::Status BlockingRetry(const std::function<absl::Status(bool* progressed)>& attempt) const;

 private:
  absl::StatusOr<HttpUrl> UrlOf(absl::string_view target) const;

  const HubOptions options_;
  HttpClient http_;
  bool token_asked_ = false;  // The hub has refused to answer without.
};

}  // namespace facet

#endif  // FACET_OPS_CLI_HUB_HUB_CLIENT_H_
