#ifndef FACET_ROUTER_MEDIA_WORK_POOL_H_
#define FACET_ROUTER_MEDIA_WORK_POOL_H_

#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace facet {

// Threads for work that is too long for those that serve connections, behind a bounded queue.
// Safe to use from any thread.
class WorkPool {
 public:
  WorkPool(int threads, int waiting_max);
  ~WorkPool() { BlockingStop(); }
  // Does what was added before, then ends the threads. No Add may follow.
  void BlockingStop() ABSL_LOCKS_EXCLUDED(mutex_);

  // Takes all of `jobs` or, where not all have room in the queue, none; false then.
  [[nodiscard]] bool Add(std::vector<std::function<void()>> jobs) ABSL_LOCKS_EXCLUDED(mutex_);

  int waiting_max() const { return waiting_max_; }

 private:
  void Work();

  const int waiting_max_;
  absl::Mutex mutex_;
  std::deque<std::function<void()>> waiting_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace facet

#endif  // FACET_ROUTER_MEDIA_WORK_POOL_H_
