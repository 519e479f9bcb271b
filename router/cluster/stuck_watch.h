#ifndef FACET_ROUTER_CLUSTER_STUCK_WATCH_H_
#define FACET_ROUTER_CLUSTER_STUCK_WATCH_H_

#include <condition_variable>
#include <mutex>
#include <thread>

#include "router/cluster/worker_pool.h"

namespace facet {

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
  // A condition variable, as it waits by the steady clock: Abseil's waits by the one that may jump.
  std::mutex mutex_;
  std::condition_variable stop_;
  bool stopping_ = false;  // Guarded by mutex_.
  std::thread thread_;
};

}  // namespace facet

#endif  // FACET_ROUTER_CLUSTER_STUCK_WATCH_H_
