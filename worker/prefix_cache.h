#ifndef FACET_WORKER_PREFIX_CACHE_H_
#define FACET_WORKER_PREFIX_CACHE_H_

#include <cstdint>
#include <functional>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"
#include "proto/page_key.h"

namespace facet {

enum class KvPool { kFull = 0, kSliding = 1 };

// A page by what it holds: one of each key in each pool.
using PoolKey = std::pair<KvPool, PageKey>;

// The pages of both KV pools: who holds them, and which finished ones can serve another request.
// Holds no lock: it belongs to the engine's thread. It knows page numbers and keys, not memory.
//
// A page is taken for a row of tokens (one reference), written by the row, and published under its
// key when all 64 positions are computed. From then on others may share it. When the last
// reference goes, a published page stays, evictable, until its memory is needed; one that was
// never published is free at once.
//
// Eviction: a full page is of use to every request that shares its beginning, so first goes what
// was used longest ago, and of that the deepest. What served a second request counts as used later,
// by as long as the pool takes to turn over twice: most ends of prompts and answers are never asked
// for again, and would push out the beginnings that are. A sliding page is of use only as part of a
// whole window before a point where a request goes on. Most pages that slid out of a window are
// part of none, so they go first; then, by the same rule as full pages, those of resume points:
// where a prompt or a sequence ended (MarkResumePoint), and where a request did go on (Hold).
//
// Invariants (CheckInvariants), for each pool:
// 1. Each page is free, evictable (published, no references) or in use (references > 0).
// 2. free + evictable + in use == all.
// 3. A published page's key leads back to it, and no two pages of a pool have one key.
// 4. Full pages and unpublished ones are of no resume point.
class PrefixCache {
 public:
  // A published page.
  struct CachedPage {
    KvPool pool;
    int32_t page;
    PageKey key;
    int depth;          // its place in its chain, 0 for the first
    bool resume_point;  // of the sliding pool: its window is likely to be asked for again
  };
  // Hears of pages that others may want to keep elsewhere. It must call nothing that changes the
  // cache.
  class Listener {
   public:
    virtual ~Listener() = default;
    // The last reference of a page that is worth keeping has gone: of a full page, or of a sliding
    // page of a resume point.
    virtual void OnIdle(const CachedPage& page) = 0;
    // The page is being evicted. Its memory is untouched until Take returns.
    virtual void OnEvict(const CachedPage& page) = 0;
  };

  // `window_tokens`: the sliding window. A cached prefix can be gone on from only where the sliding
  // pages of the window before its end are there too.
  PrefixCache(int32_t full_pages, int32_t sliding_pages, int window_tokens);

  // What of a chain of keys is here, from its beginning.
  struct Match {
    int pages = 0;               // usable: all full pages, and the sliding pages of the last window
    int32_t full_evictable = 0;  // of those to be held, the ones that nobody holds now
    int32_t sliding_evictable = 0;
    int known_pages = 0;  // full pages that are here without a gap: this chain leaves others there
  };
  // `keys`: the chain of a prompt's whole pages. Looks only; nothing is held.
  Match Find(absl::Span<const PageKey> keys) const;

  // Holds the pages of a prefix: references to full pages [0, pages) and to the sliding pages of
  // the window before their end, in `full` and `sliding`; kNone below the window, and for pages
  // that are not here. There are none of these if `pages` is what Find gave for the same keys, with
  // no other call between.
  static constexpr int32_t kNone = -1;
  void Hold(absl::Span<const PageKey> keys, int pages, std::vector<int32_t>* full,
            std::vector<int32_t>* sliding);

  // A request may go on after the first `pages` pages of this chain: the sliding pages of the
  // window before are kept longer, as far as they are here, and so are kResumeSlackPages before
  // them, since requests that share a beginning often differ in their last words alone.
  static constexpr int kResumeSlackPages = 4;
  void MarkResumePoint(absl::Span<const PageKey> keys, int pages);

  // The published page of this key; kNone if it is not here. Whether nobody holds a page.
  int32_t Lookup(KvPool pool, const PageKey& key) const;
  bool idle(KvPool pool, int32_t page) const { return of(pool).pages[page].references == 0; }
  CachedPage Describe(KvPool pool, int32_t page) const;
  // How many sliding pages must be there for a prefix of `pages` pages.
  int WindowPages(int pages) const;

  // Of `pages`, those that giving one reference back would free: nobody else holds them. kNone is
  // passed over.
  int32_t CountUnshared(KvPool pool, absl::Span<const int32_t> pages) const;

  // Pages that Take can give: free and evictable ones.
  int32_t available(KvPool pool) const;
  int32_t page_count(KvPool pool) const { return static_cast<int32_t>(of(pool).pages.size()); }
  int32_t in_use_count(KvPool pool) const;
  int32_t evictable_count(KvPool pool) const {
    return static_cast<int32_t>(of(pool).evictable.size());
  }

  // One more reference to a published page. For a page that is there already.
  void AddReference(KvPool pool, int32_t page) { AddReference(of(pool), page); }
  // A page with one reference; evicts if none is free. REQUIRES: available(pool) > 0.
  int32_t Take(KvPool pool);
  // Makes a written page findable. If another page has the key already, the caller's reference
  // moves to that one, which is returned: their contents are equal bit for bit. `depth` is the
  // page's place in its chain, 0 for the first.
  int32_t Publish(KvPool pool, int32_t page, const PageKey& key, int depth);
  // Gives one reference back. REQUIRES: the page has one.
  void Release(KvPool pool, int32_t page);

  // `listener` may be null, and must live until it is replaced.
  void SetListener(Listener* listener) { listener_ = listener; }
  // Hears of each page that can be found from now on (Publish), or no longer (evicted).
  using Observer = std::function<void(KvPool pool, const PageKey& key, bool stored)>;
  void SetObserver(Observer observer) { observer_ = std::move(observer); }

  void CheckInvariants() const;

 private:
  struct Page {
    int references = 0;
    bool published = false;
    bool resume_point = false;
    bool reused = false;  // it served a request that did not compute it
    PageKey key = {};
    int depth = 0;
    uint64_t last_used = 0;  // when the last reference went; later if reused
  };
  // Ascending: of no resume point first, then used longest ago, of that the deepest.
  using EvictionOrder =
      std::tuple<bool, uint64_t, int, int32_t>;  // resume_point, last_used, -depth, page
  struct Pool {
    std::vector<Page> pages;
    std::vector<int32_t> free;
    std::set<EvictionOrder> evictable;
    absl::flat_hash_map<PageKey, int32_t> by_key;
  };

  Pool& of(KvPool pool) { return pools_[static_cast<int>(pool)]; }
  const Pool& of(KvPool pool) const { return pools_[static_cast<int>(pool)]; }
  static EvictionOrder OrderOf(const Pool& pool, int32_t page);
  void AddReference(Pool& pool, int32_t page);
  void Evict(KvPool pool);
  // A reference to a published page for who did not compute it.
  void Reuse(KvPool pool, int32_t page);
  void Mark(int32_t page);
  // Tells the listener of a page that nobody holds.
  void TellIdle(KvPool pool, int32_t page);

  const int window_tokens_;
  Pool pools_[2];
  Listener* listener_ = nullptr;
  Observer observer_;   // may be empty
  uint64_t clock_ = 0;  // rises with each Hold and Take
};

}  // namespace facet

#endif  // FACET_WORKER_PREFIX_CACHE_H_
