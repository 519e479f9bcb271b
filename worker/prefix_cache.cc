#include "worker/prefix_cache.h"

#include <algorithm>

#include "base/check.h"
#include "kernels/device.h"

namespace facet {

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
    full->push_back(of(KvPool::kFull).by_key.at(keys[i]));
    AddReference(of(KvPool::kFull), full->back());
    if (i < first_sliding) {
      sliding->push_back(kNone);
      continue;
    }
    sliding->push_back(of(KvPool::kSliding).by_key.at(keys[i]));
    AddReference(of(KvPool::kSliding), sliding->back());
  }
}

int32_t PrefixCache::available(KvPool pool) const {
  return static_cast<int32_t>(of(pool).free.size() + of(pool).evictable.size());
}

int32_t PrefixCache::in_use_count(KvPool pool) const { return page_count(pool) - available(pool); }

PrefixCache::EvictionOrder PrefixCache::OrderOf(const Pool& pool, int32_t page) {
  return {pool.pages[page].last_used, -pool.pages[page].depth, page};
}

void PrefixCache::AddReference(Pool& pool, int32_t page) {
  Page& held = pool.pages[page];
  if (held.references == 0) pool.evictable.erase(OrderOf(pool, page));
  ++held.references;
}

void PrefixCache::Evict(Pool& pool) {
  CHECK(!pool.evictable.empty());
  const int32_t page = std::get<2>(*pool.evictable.begin());
  pool.evictable.erase(pool.evictable.begin());
  pool.by_key.erase(pool.pages[page].key);
  pool.pages[page] = {};
  pool.free.push_back(page);
}

int32_t PrefixCache::Take(KvPool pool) {
  ++clock_;
  Pool& taken = of(pool);
  if (taken.free.empty()) Evict(taken);
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
    held.last_used = clock_;
    released.evictable.insert(OrderOf(released, page));
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
    for (const int32_t page : pool.free) {
      CHECK(pool.pages[page].references == 0 && !pool.pages[page].published) << "page " << page;
    }
    CHECK_EQ(pool.by_key.size(), published);
    CHECK_EQ(in_use + pool.free.size() + pool.evictable.size(), pool.pages.size());
  }
}

}  // namespace facet
