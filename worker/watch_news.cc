#include "worker/watch_news.h"

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

void WatchNews::PostLoad(const v1::Load& load) {
  if (!SameCounts(load, load_)) load_changed_ = true;
  auto adapters = std::move(*load_.mutable_adapters());
  load_ = load;
  *load_.mutable_adapters() = std::move(adapters);
}

void WatchNews::PostAdapters(const std::vector<v1::AdapterInfo>& adapters) {
  load_.mutable_adapters()->Assign(adapters.begin(), adapters.end());
  load_changed_ = true;
}

void WatchNews::PostPage(const PageEvent& event) {
  const auto bit = static_cast<uint8_t>(1 << static_cast<int>(event.tier));
  const auto page = pages_.try_emplace({event.key, event.sliding}, uint8_t{0}).first;
  page->second = event.stored ? page->second | bit : page->second & ~bit;
  if (page->second == 0) pages_.erase(page);
  events_.push_back(event);
}

std::vector<PageEvent> WatchNews::Take() {
  load_changed_ = false;
  return std::exchange(events_, {});
}

std::vector<PageEvent> WatchNews::AllPages() const {
  std::vector<PageEvent> all;
  for (const auto& [page, tiers] : pages_) {
    for (const PageTier tier : {PageTier::kDevice, PageTier::kHost, PageTier::kDisk}) {
      if ((tiers >> static_cast<int>(tier) & 1) == 0) continue;
      all.push_back({page.first, page.second, tier, /*stored=*/true});
    }
  }
  return all;
}

}  // namespace facet
