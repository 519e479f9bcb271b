#include "worker/prefix_cache.h"

#include <algorithm>

#include "base/check.h"
#include "kernels/device.h"

namespace facet {
namespace {

// How many times a pool turns over before a page that was reused goes as early as one that was not.
constexpr uint64_t kReusedTurnovers = 2;
// By this many times a pool's pages the clock rises while the pool turns over: rows take a page of
// each of the two pools.
constexpr uint64_t kClockPerTurnover = 2;

}  // namespace

PrefixCache::PrefixCache(int32_t full_pages, int32_t sliding_pages, int window_tokens)
    : window_tokens_(window_tokens) {
  const int32_t counts[] = {full_pages, sliding_pages};
  for (int i = 0; i < 2; ++i) {
    CHECK_GE(counts[i], 0);
    pools_[i].pages.resize(counts[i]);
    // The last one goes out first, so the lowest numbers are used first: they are touched already.
    for (int32_t page = counts[i]; page-- > 0;) pools_[i].free.push_back(page);
  }
}

int PrefixCache::WindowPages(int pages) const {
  // The next row, at 64 * pages, sees the window - 1 keys before it; the drafter one key more.
  return std::min(pages, (window_tokens_ + kPageTokens - 1) / kPageTokens);
}

PrefixCache::Match PrefixCache::Find(absl::Span<const PageKey> keys) const {
  const Pool& full = of(KvPool::kFull);
  const Pool& sliding = of(KvPool::kSliding);
  Match match;
  int sliding_run = 0;  // sliding pages there without a gap, up to this one
  int32_t full_evictable = 0;
  for (int i = 0; i < static_cast<int>(keys.size()); ++i) {
    const auto found = full.by_key.find(keys[i]);
    if (found == full.by_key.end()) break;
    match.known_pages = i + 1;
    full_evictable += full.pages[found->second].references == 0 ? 1 : 0;
    sliding_run = sliding.by_key.contains(keys[i]) ? sliding_run + 1 : 0;
    if (sliding_run >= WindowPages(i + 1)) {
      match.pages = i + 1;
      match.full_evictable = full_evictable;
    }
  }
  for (int i = match.pages - WindowPages(match.pages); i < match.pages; ++i) {
    const int32_t page = sliding.by_key.at(keys[i]);
    match.sliding_evictable += sliding.pages[page].references == 0 ? 1 : 0;
  }
  return match;
}

void PrefixCache::Hold(absl::Span<const PageKey> keys, int pages, std::vector<int32_t>* full,
                       std::vector<int32_t>* sliding) {
  ++clock_;
  const int first_sliding = pages - WindowPages(pages);
  for (int i = 0; i < pages; ++i) {
    full->push_back(Lookup(KvPool::kFull, keys[i]));
    if (full->back() != kNone) Reuse(KvPool::kFull, full->back());
    sliding->push_back(i < first_sliding ? kNone : Lookup(KvPool::kSliding, keys[i]));
    if (sliding->back() == kNone) continue;
    Reuse(KvPool::kSliding, sliding->back());
    Mark(sliding->back());
  }
}

void PrefixCache::Reuse(KvPool pool, int32_t page) {
  AddReference(pool, page);
  of(pool).pages[page].reused = true;
}

void PrefixCache::MarkResumePoint(absl::Span<const PageKey> keys, int pages) {
  for (int i = std::max(0, pages - WindowPages(pages) - kResumeSlackPages); i < pages; ++i) {
    const int32_t page = Lookup(KvPool::kSliding, keys[i]);
    if (page != kNone) Mark(page);
  }
}

void PrefixCache::Mark(int32_t page) {
  Pool& sliding = of(KvPool::kSliding);
  Page& marked = sliding.pages[page];
  if (marked.resume_point) return;
  const bool is_idle = marked.references == 0;
  if (is_idle) sliding.evictable.erase(OrderOf(sliding, page));
  marked.resume_point = true;
  if (!is_idle) return;
  sliding.evictable.insert(OrderOf(sliding, page));
  TellIdle(KvPool::kSliding, page);
}

void PrefixCache::TellIdle(KvPool pool, int32_t page) {
  if (listener_ == nullptr) return;
  if (pool == KvPool::kFull || of(pool).pages[page].resume_point) {
    listener_->OnIdle(Describe(pool, page));
  }
}

int32_t PrefixCache::Lookup(KvPool pool, const PageKey& key) const {
  const auto found = of(pool).by_key.find(key);
  return found == of(pool).by_key.end() ? kNone : found->second;
}

PrefixCache::CachedPage PrefixCache::Describe(KvPool pool, int32_t page) const {
  const Page& described = of(pool).pages[page];
  CHECK(described.published) << "page " << page;
  return {pool, page, described.key, described.depth, described.resume_point};
}

int32_t PrefixCache::CountUnshared(KvPool pool, absl::Span<const int32_t> pages) const {
  int32_t count = 0;
  for (const int32_t page : pages) {
    count += page != kNone && of(pool).pages[page].references == 1 ? 1 : 0;
  }
  return count;
}

int32_t PrefixCache::available(KvPool pool) const {
  return static_cast<int32_t>(of(pool).free.size() + of(pool).evictable.size());
}

int32_t PrefixCache::in_use_count(KvPool pool) const { return page_count(pool) - available(pool); }

PrefixCache::EvictionOrder PrefixCache::OrderOf(const Pool& pool, int32_t page) {
  return {pool.pages[page].resume_point, pool.pages[page].last_used, -pool.pages[page].depth, page};
}

void PrefixCache::AddReference(Pool& pool, int32_t page) {
  Page& held = pool.pages[page];
  if (held.references == 0) pool.evictable.erase(OrderOf(pool, page));
  ++held.references;
}

void PrefixCache::Evict(KvPool pool) {
  Pool& evicted = of(pool);
  CHECK(!evicted.evictable.empty());
  const int32_t page = std::get<3>(*evicted.evictable.begin());
  if (listener_ != nullptr) listener_->OnEvict(Describe(pool, page));
  if (observer_) observer_(pool, evicted.pages[page].key, /*stored=*/false);
  evicted.evictable.erase(evicted.evictable.begin());
  evicted.by_key.erase(evicted.pages[page].key);
  evicted.pages[page] = {};
  evicted.free.push_back(page);
}

int32_t PrefixCache::Take(KvPool pool) {
  ++clock_;
  Pool& taken = of(pool);
  if (taken.free.empty()) Evict(pool);
  const int32_t page = taken.free.back();
  taken.free.pop_back();
  taken.pages[page].references = 1;
  return page;
}

int32_t PrefixCache::Publish(KvPool pool, int32_t page, const PageKey& key, int depth) {
  Pool& published = of(pool);
  Page& own = published.pages[page];
  CHECK(own.references > 0 && !own.published) << "page " << page;
  const auto [found, inserted] = published.by_key.try_emplace(key, page);
  if (!inserted) {
    AddReference(published, found->second);
    Release(pool, page);
    return found->second;
  }
  own.published = true;
  own.key = key;
  own.depth = depth;
  if (observer_) observer_(pool, key, /*stored=*/true);
  return page;
}

void PrefixCache::Release(KvPool pool, int32_t page) {
  Pool& released = of(pool);
  CHECK(page >= 0 && page < page_count(pool)) << "page " << page;
  Page& held = released.pages[page];
  CHECK_GT(held.references, 0);
  if (--held.references > 0) return;
  if (held.published) {
    // Pages that are released one after the other, as a sequence's are, were used equally long ago.
    held.last_used =
        clock_ + (held.reused ? kReusedTurnovers * kClockPerTurnover * page_count(pool) : 0);
    released.evictable.insert(OrderOf(released, page));
    TellIdle(pool, page);
  } else {
    held = {};
    released.free.push_back(page);
  }
}

void PrefixCache::CheckInvariants() const {
  for (const Pool& pool : pools_) {
    size_t in_use = 0, published = 0;
    for (size_t page = 0; page < pool.pages.size(); ++page) {
      const Page& checked = pool.pages[page];
      in_use += checked.references > 0 ? 1 : 0;
      if (!checked.published) continue;
      ++published;
      CHECK_EQ(pool.by_key.at(checked.key), static_cast<int32_t>(page));
      CHECK_EQ(pool.evictable.count(OrderOf(pool, static_cast<int32_t>(page))),
               checked.references == 0 ? 1u : 0u);
    }
    for (const Page& page : pool.pages) {
      CHECK(!page.resume_point || (page.published && &pool == &of(KvPool::kSliding)));
    }
    for (const int32_t page : pool.free) {
      CHECK(pool.pages[page].references == 0 && !pool.pages[page].published) << "page " << page;
    }
    CHECK_EQ(pool.by_key.size(), published);
    CHECK_EQ(in_use + pool.free.size() + pool.evictable.size(), pool.pages.size());
  }
}

}  // namespace facet
