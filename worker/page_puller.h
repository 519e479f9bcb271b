#ifndef FACET_WORKER_PAGE_PULLER_H_
#define FACET_WORKER_PAGE_PULLER_H_

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "worker/peer_source.h"
#include "worker/tier_decision.h"

namespace facet {

struct PagePullerOptions {
  PageFormat format;   // of this worker
  int peers_max = 64;  // connections that are kept; an unused one is closed after a minute
  int pulls_max = 16;  // under way; one more misses all its pages
  // For so long nothing is pulled from a worker that could not be pulled from.
  absl::Duration failed_peer_pause = absl::Seconds(5);
  // After so long a measured rate counts as not measured: somebody must measure it again.
  absl::Duration rate_kept = absl::Minutes(1);
  std::function<absl::Time()> clock = absl::Now;
};

// What went wrong, by kind. Each kind is logged once; the pages are computed.
enum class PullFault {
  kUnreachable,  // no such worker, or it ended, or refused for load
  kLate,         // the time was over
  kForeign,      // its pages hold something else, or it knows no such request
  kCorrupt,      // a piece does not fit its checksum, or is not the one that was to come
  kTorn,         // it ended before all pages had come
};
inline constexpr int kPullFaultKinds = 5;

// Pulls pages from other workers over gRPC (proto/worker.proto), on gRPC's threads: each pull is
// one call, each worker one connection. Bytes are written to where they belong as they come, and
// count only when the whole page has come and each piece fitted its checksum.
class PagePuller final : public PeerSource {
 public:
  explicit PagePuller(PagePullerOptions options);
  // REQUIRES: not on one of gRPC's threads.
  ~PagePuller() override;
  PagePuller(const PagePuller&) = delete;
  PagePuller& operator=(const PagePuller&) = delete;

  void Start(std::function<void()> on_completed) override;
  uint64_t Pull(const std::string& address, std::vector<PageCopy> pages,
                absl::Duration timeout) override;
  void Cancel(uint64_t pull) override;
  std::vector<PageCopy> TakeCompleted() override;
  void BlockingStop() override;
  double bytes_per_s() const override;
  PeerStats stats() const override;

  int64_t faults(PullFault kind) const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  class Call;
  struct Peer;

  // The connection to a worker; null if it is not to be asked now.
  Peer* PeerAt(const std::string& address) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // From calls, on gRPC's threads.
  void Complete(PageCopy page, bool ok) ABSL_LOCKS_EXCLUDED(mutex_);
  void AddCompleted(PageCopy page, bool ok) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void End(Call& call) ABSL_LOCKS_EXCLUDED(mutex_);
  void CountFault(PullFault kind, absl::string_view address, absl::string_view what)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const PagePullerOptions options_;
  std::function<void()> on_completed_;  // set before the first pull

  mutable absl::Mutex mutex_;
  std::map<std::string, std::unique_ptr<Peer>> peers_ ABSL_GUARDED_BY(mutex_);  // by address
  std::map<uint64_t, std::unique_ptr<Call>> calls_ ABSL_GUARDED_BY(mutex_);
  uint64_t last_pull_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<PageCopy> completed_ ABSL_GUARDED_BY(mutex_);
  MeasuredRate rate_ ABSL_GUARDED_BY(mutex_);
  absl::Time measured_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  PeerStats stats_ ABSL_GUARDED_BY(mutex_);
  std::array<int64_t, kPullFaultKinds> faults_ ABSL_GUARDED_BY(mutex_) = {};
};

}  // namespace facet

#endif  // FACET_WORKER_PAGE_PULLER_H_
