#include "worker/watch_board.h"

#include <algorithm>

namespace facet {
namespace {

// Whether a reader would act otherwise: the rate alone moves with every step.
bool SameCounts(const v1::Load& a, const v1::Load& b) {
  return a.running_requests() == b.running_requests() &&
         a.waiting_requests() == b.waiting_requests() &&
         a.full_pages_free() == b.full_pages_free() &&
         a.prefill_tokens_waiting() == b.prefill_tokens_waiting() &&
         a.sliding_pages_free() == b.sliding_pages_free() && a.draining() == b.draining();
}

}  // namespace

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
  if (!SameCounts(load, load_)) load_changed_ = true;
  auto adapters = std::move(*load_.mutable_adapters());
  load_ = load;
  *load_.mutable_adapters() = std::move(adapters);
}

void WatchBoard::PostAdapters(const std::vector<v1::AdapterInfo>& adapters) {
  absl::MutexLock lock(&mutex_);
  load_.mutable_adapters()->Assign(adapters.begin(), adapters.end());
  load_changed_ = true;
}

void WatchBoard::PostPage(const PageEvent& event) {
  const auto bit = static_cast<uint8_t>(1 << static_cast<int>(event.tier));
  absl::MutexLock lock(&mutex_);
  const auto page = pages_.try_emplace({event.key, event.sliding}, uint8_t{0}).first;
  page->second = event.stored ? page->second | bit : page->second & ~bit;
  if (page->second == 0) pages_.erase(page);
  if (!watchers_.empty()) page_events_.push_back(event);
}

void WatchBoard::AddWatcher(Watcher* watcher) {
  absl::MutexLock lock(&mutex_);
  watchers_.push_back(watcher);
  std::vector<PageEvent> snapshot;
  for (const auto& [page, tiers] : pages_) {
    for (const PageTier tier : {PageTier::kDevice, PageTier::kHost, PageTier::kDisk}) {
      if ((tiers >> static_cast<int>(tier) & 1) == 0) continue;
      snapshot.push_back({page.first, page.second, tier, /*stored=*/true});
    }
  }
  watcher->OnNews(load_, snapshot);
}

void WatchBoard::RemoveWatcher(Watcher* watcher) {
  absl::MutexLock lock(&mutex_);
  watchers_.erase(std::remove(watchers_.begin(), watchers_.end(), watcher), watchers_.end());
}

void WatchBoard::Loop() {
  const auto changed = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return load_changed_ || !page_events_.empty() || stopping_;
  };
  absl::MutexLock lock(&mutex_);
  while (true) {
    mutex_.Await(absl::Condition(&changed));
    if (stopping_) return;
    load_changed_ = false;
    for (Watcher* watcher : watchers_) watcher->OnNews(load_, page_events_);
    page_events_.clear();
    // The pause between two messages; a stop cuts it short.
    mutex_.AwaitWithTimeout(absl::Condition(&stopping_), interval_);
  }
}

}  // namespace facet
