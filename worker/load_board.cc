#include "worker/load_board.h"

#include <algorithm>

namespace facet {
namespace {

// Whether a reader would act otherwise: the rate alone moves with every step.
bool SameCounts(const v1::Load& a, const v1::Load& b) {
  return a.running_requests() == b.running_requests() &&
         a.waiting_requests() == b.waiting_requests() &&
         a.full_pages_free() == b.full_pages_free() &&
         a.sliding_pages_free() == b.sliding_pages_free() && a.draining() == b.draining();
}

}  // namespace

LoadBoard::LoadBoard(absl::Duration interval) : interval_(interval), thread_([this] { Loop(); }) {}

LoadBoard::~LoadBoard() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  thread_.join();
}

void LoadBoard::Post(const v1::Load& load) {
  absl::MutexLock lock(&mutex_);
  if (!SameCounts(load, load_)) changed_ = true;
  load_ = load;
}

void LoadBoard::AddWatcher(Watcher* watcher) {
  absl::MutexLock lock(&mutex_);
  watchers_.push_back(watcher);
  watcher->OnLoad(load_);
}

void LoadBoard::RemoveWatcher(Watcher* watcher) {
  absl::MutexLock lock(&mutex_);
  watchers_.erase(std::remove(watchers_.begin(), watchers_.end(), watcher), watchers_.end());
}

void LoadBoard::Loop() {
  const auto changed = [this]()
                           ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return changed_ || stopping_; };
  absl::MutexLock lock(&mutex_);
  while (true) {
    mutex_.Await(absl::Condition(&changed));
    if (stopping_) return;
    changed_ = false;
    for (Watcher* watcher : watchers_) watcher->OnLoad(load_);
    // The pause between two messages; a stop cuts it short.
    mutex_.AwaitWithTimeout(absl::Condition(&stopping_), interval_);
  }
}

}  // namespace facet
