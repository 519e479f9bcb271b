#ifndef FACET_WORKER_WATCH_BOARD_H_
#define FACET_WORKER_WATCH_BOARD_H_

#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "proto/page_event.h"
#include "proto/worker.pb.h"
#include "worker/watch_news.h"

namespace facet {

// What a worker tells about itself: the engine's newest load, and which pages of cached prefixes it
// has. Watchers hear at most once an `interval`: the engine posts after each step, which may be
// thousands of times a second. Any thread may call any method.
class WatchBoard {
 public:
  class Watcher {
   public:
    virtual ~Watcher() = default;
    // `pages` are the events since the last call; in the first call, all pages that are there. What
    // a watcher knows already may be told again. On the board's thread, or that of AddWatcher. Only
    // enqueue; call no method of the board.
    virtual void OnNews(const v1::Load& load, absl::Span<const PageEvent> pages) = 0;
  };

  explicit WatchBoard(absl::Duration interval = kNewsInterval);
  ~WatchBoard();
  WatchBoard(const WatchBoard&) = delete;
  WatchBoard& operator=(const WatchBoard&) = delete;

  void PostLoad(const v1::Load& load) ABSL_LOCKS_EXCLUDED(mutex_);
  void PostPage(const PageEvent& event) ABSL_LOCKS_EXCLUDED(mutex_);
  // All adapters that the worker holds: they stand in the loads that watchers hear.
  void PostAdapters(const std::vector<v1::AdapterInfo>& adapters) ABSL_LOCKS_EXCLUDED(mutex_);
  // Tells the newest at once, then each change until RemoveWatcher returns.
  void AddWatcher(Watcher* watcher) ABSL_LOCKS_EXCLUDED(mutex_);
  void RemoveWatcher(Watcher* watcher) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Loop() ABSL_LOCKS_EXCLUDED(mutex_);

  const absl::Duration interval_;
  absl::Mutex mutex_;
  WatchNews news_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<Watcher*> watchers_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace facet

#endif  // FACET_WORKER_WATCH_BOARD_H_
