#include "worker/watch_board.h"

#include <algorithm>

namespace facet {
WatchBoard::WatchBoard(absl::Duration interval)
    : interval_(interval), thread_([this] { Loop(); }) {}

WatchBoard::~WatchBoard() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  thread_.join();
}

void WatchBoard::PostLoad(const v1::Load& load) {
  absl::MutexLock lock(&mutex_);
  news_.PostLoad(load);
}

void WatchBoard::PostAdapters(const std::vector<v1::AdapterInfo>& adapters) {
  absl::MutexLock lock(&mutex_);
  news_.PostAdapters(adapters);
}

void WatchBoard::PostPage(const PageEvent& event) {
  absl::MutexLock lock(&mutex_);
  news_.PostPage(event);
}

void WatchBoard::AddWatcher(Watcher* watcher) {
  absl::MutexLock lock(&mutex_);
  watchers_.push_back(watcher);
  watcher->OnNews(news_.load(), news_.AllPages());
}

void WatchBoard::RemoveWatcher(Watcher* watcher) {
  absl::MutexLock lock(&mutex_);
  watchers_.erase(std::remove(watchers_.begin(), watchers_.end(), watcher), watchers_.end());
}

void WatchBoard::Loop() {
  const auto changed = [this]()
                           ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return news_.any() || stopping_; };
  absl::MutexLock lock(&mutex_);
  while (true) {
    mutex_.Await(absl::Condition(&changed));
    if (stopping_) return;
    const std::vector<PageEvent> events = news_.Take();
    for (Watcher* watcher : watchers_) watcher->OnNews(news_.load(), events);
    // The pause between two messages; a stop cuts it short.
    mutex_.AwaitWithTimeout(absl::Condition(&stopping_), interval_);
  }
}

}  // namespace facet
