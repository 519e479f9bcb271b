#ifndef FACET_OPS_CLI_HUB_HUB_DIGEST_H_
#define FACET_OPS_CLI_HUB_HUB_DIGEST_H_

#include <memory>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "ops/cli/hub/hub_listing.h"

namespace facet {

// Whether a file's bytes are those that the hub lists: by SHA-256, or by git's SHA-1 where the hub
// has no other. Takes the bytes in order. For one thread.
class HubDigest {
 public:
  explicit HubDigest(const HubFile& file);
  ~HubDigest();
  HubDigest(HubDigest&&) noexcept;
  HubDigest& operator=(HubDigest&&) noexcept;

  void Add(absl::string_view bytes);
  // To be called once, after the last byte. DATA_LOSS names the file and both digests.
  absl::Status Check();

 private:
  struct State;  // OpenSSL's, and what is expected.
  std::unique_ptr<State> state_;
};

}  // namespace facet

#endif  // FACET_OPS_CLI_HUB_HUB_DIGEST_H_
