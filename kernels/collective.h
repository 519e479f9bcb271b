#ifndef FACET_KERNELS_COLLECTIVE_H_
#define FACET_KERNELS_COLLECTIVE_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace facet {

// How long a rank may show no life before the others take it for dead, and how often it shows some.
// Together below the two seconds within which a group must notice. Life is shown by a thread of its
// own, so a rank that computes for long is not dead.
inline constexpr absl::Duration kRankSilenceMax = absl::Milliseconds(1500);
inline constexpr absl::Duration kRankBeatInterval = absl::Milliseconds(100);
inline constexpr int kRanksMax = 16;

struct CollectiveOptions {
  // How long a call waits for ranks that live but do not take part.
  absl::Duration timeout = absl::Seconds(60);
  // Told once, when the group has failed and this rank has not left. On a thread of the
  // collective's own, also while nobody calls anything: must not destroy the collective.
  std::function<void(const absl::Status&)> on_failure;
};

// What the ranks of a tensor-parallel group exchange while they run one step: `size` processes,
// each of which makes the same calls in the same order with the same sizes.
//
// One thread makes the calls; Abort may be called by any. All memory is the host's. A call ends
// when every rank has taken part, or with UNAVAILABLE when a rank has died, hung, left or aborted
// (within two seconds), or with DEADLINE_EXCEEDED. Any of these is the group's end: each later call
// on each rank fails too. Sums are taken in the order of the ranks, element by element, so all
// ranks get the same bits, whatever the number of elements.
class Collective {
 public:
  virtual ~Collective() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;

  // x = x of rank 0 + x of rank 1 + ...: float32, [count].
  virtual absl::Status AllReduceSum(float* x, int64_t count) = 0;
  // `out` [size, bytes]: each rank's `bytes` bytes of `own`, in the order of the ranks.
  virtual absl::Status AllGather(const void* own, int64_t bytes, void* out) = 0;
  // `data` [bytes] of rank 0, on all. A rank other than 0 waits for as long as rank 0 lives: it may
  // have nothing to say for hours.
  virtual absl::Status Broadcast(void* data, int64_t bytes) = 0;
  virtual absl::Status Barrier() = 0;

  // Ends the group: calls under way on any rank fail within two seconds. Any thread.
  virtual void Abort(const absl::Status& reason) = 0;
  // This rank is about to be destroyed: that others end from now on is no failure. Calls still
  // work.
  virtual void Leave() = 0;
};

// A group of one: every call succeeds and does nothing but copy.
std::unique_ptr<Collective> MakeLoneCollective();

// The first failure of a group, as one rank sees it. Any thread.
class GroupFailure {
 public:
  explicit GroupFailure(std::function<void(const absl::Status&)> on_failure)
      : on_failure_(std::move(on_failure)) {}

  // Keeps the first `reason`, and tells it unless this rank has left.
  void Set(const absl::Status& reason) ABSL_LOCKS_EXCLUDED(mutex_);
  void Leave() { leaving_ = true; }
  bool failed() const { return failed_; }
  bool leaving() const { return leaving_; }
  // OK: nothing has failed.
  absl::Status status() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  const std::function<void(const absl::Status&)> on_failure_;
  std::atomic<bool> failed_ = false, leaving_ = false;
  mutable absl::Mutex mutex_;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
};

// x += y, the step of a sum over ranks.
void AddInPlace(float* x, const float* y, int64_t count);

}  // namespace facet

#endif  // FACET_KERNELS_COLLECTIVE_H_
