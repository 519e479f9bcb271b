#ifndef FACET_ROUTER_API_RESPONSE_STORE_H_
#define FACET_ROUTER_API_RESPONSE_STORE_H_

#include <cstdint>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"

namespace facet {

struct ResponseStoreOptions {
  std::string folder;  // Empty: nothing is kept. On storage that all routers share.
  int count_max = 10'000;
  int64_t bytes_max = int64_t{1} << 30;  // One response may have a sixteenth of it.
};

// The answers of /v1/responses that a later request may go on from: one file for each, by its id.
// Several routers may share the folder: a file appears whole or not at all, and each router removes
// the oldest files beyond the bounds as often as it has added an eighth of them, so R routers hold
// at most 1 + R / 8 times the bounds. Safe to use from any thread. Files are small and calls block
// for their reading or writing.
class ResponseStore {
 public:
  explicit ResponseStore(ResponseStoreOptions options) : options_(std::move(options)) {}

  bool enabled() const { return !options_.folder.empty(); }

  // FAILED_PRECONDITION: not enabled; RESOURCE_EXHAUSTED: too large; UNAVAILABLE: the folder cannot
  // be written. `id` is one of ours.
  absl::Status Put(const std::string& id, absl::string_view text) ABSL_LOCKS_EXCLUDED(mutex_);
  // NOT_FOUND with the code previous_response_not_found: not kept, or no more.
  absl::StatusOr<std::string> Get(const std::string& id) const;
  absl::Status Remove(const std::string& id);

 private:
  std::string PathOf(const std::string& id) const;
  void RemoveOldest() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const ResponseStoreOptions options_;
  absl::Mutex mutex_;
  // Since the folder was last looked through; a new store looks at its first Put.
  int added_count_ ABSL_GUARDED_BY(mutex_) = -1;
  int64_t added_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace facet

#endif  // FACET_ROUTER_API_RESPONSE_STORE_H_
