#ifndef FACET_WORKER_LOAD_BOARD_H_
#define FACET_WORKER_LOAD_BOARD_H_

#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "proto/worker.pb.h"

namespace facet {

// Holds the engine's newest load and tells it to those who watch, at most once an `interval`: the
// engine posts after each step, which may be thousands of times a second. Any thread may call any
// method.
class LoadBoard {
 public:
  class Watcher {
   public:
    virtual ~Watcher() = default;
    // On the board's thread, or that of AddWatcher. Only enqueue; call no method of the board.
    virtual void OnLoad(const v1::Load& load) = 0;
  };

  explicit LoadBoard(absl::Duration interval = absl::Milliseconds(20));
  ~LoadBoard();
  LoadBoard(const LoadBoard&) = delete;
  LoadBoard& operator=(const LoadBoard&) = delete;

  void Post(const v1::Load& load) ABSL_LOCKS_EXCLUDED(mutex_);
  // Tells the newest load at once, then each change until RemoveWatcher returns.
  void AddWatcher(Watcher* watcher) ABSL_LOCKS_EXCLUDED(mutex_);
  void RemoveWatcher(Watcher* watcher) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Loop() ABSL_LOCKS_EXCLUDED(mutex_);

  const absl::Duration interval_;
  absl::Mutex mutex_;
  v1::Load load_ ABSL_GUARDED_BY(mutex_);
  bool changed_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<Watcher*> watchers_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace facet

#endif  // FACET_WORKER_LOAD_BOARD_H_
