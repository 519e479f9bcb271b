#ifndef FACET_ROUTER_CLUSTER_STUCK_WORKERS_H_
#define FACET_ROUTER_CLUSTER_STUCK_WORKERS_H_

#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "router/cluster/worker_pool.h"

namespace facet {

// A worker as those see it who wait for it.
struct WorkerSilence {
  bool ready = false;
  double silent_s = 0;  // Since it told or answered anything while it has requests; 0: it has none.
  double longest_step_s = 0;  // That its steps may take by its own measure; 0: unknown.
};

// Which workers take requests and answer none: silent for longer than `limit_s` and than ten of
// their longest steps, while another is ready that is not. A pure function.
std::vector<size_t> StuckWorkers(absl::Span<const WorkerSilence> workers, double limit_s);

// Gives up workers that are stuck, so that their requests go on elsewhere. Such a worker still
// accepts connections (its device hangs, say), so nothing else notices. A loop on a thread of its
// own.
class StuckWatch {
 public:
  // `pool` must outlive it.
  StuckWatch(WorkerPool* pool, int stuck_ms);
  ~StuckWatch();
  StuckWatch(const StuckWatch&) = delete;
  StuckWatch& operator=(const StuckWatch&) = delete;

 private:
  void Loop();
  void Look();

  WorkerPool& pool_;
  const int stuck_ms_;
  absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace facet

#endif  // FACET_ROUTER_CLUSTER_STUCK_WORKERS_H_
