#ifndef FACET_ROUTER_CLUSTER_PAGE_INDEX_H_
#define FACET_ROUTER_CLUSTER_PAGE_INDEX_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "proto/page_event.h"
#include "proto/page_key.h"

namespace facet {

// What a worker has of a prompt.
struct PrefixHolder {
  int worker = 0;
  // Pages, from the prompt's beginning, that the worker need not compute: all full pages are
  // there, and the sliding pages of the window before their end.
  int usable_pages = 0;
  int full_pages = 0;    // Full pages from the beginning, window or not.
  int device_pages = 0;  // Of full_pages, those that stand on the device: these cost no copy.
};

// Which worker holds which pages of cached prefixes, as the workers told: a hash table from page
// keys to holders, sized once. Looking up reads; an index may be read by many threads at once, and
// changed by one that has it alone.
//
// A key stands for all of the prompt up to its page (proto/page_key.h), and a worker evicts the
// deepest page of a chain first. So the full pages that a worker has of a prompt are a beginning
// of it, and how far they reach is found by bisection: of 1,000 pages, ten are looked at. While
// events are on their way this may be wrong for a moment; then the estimate is, and no more.
//
// An entry keeps a digest of its holders, so that two pages are known to have equal holders without
// reading them. Digests of 32 bits and keys cut to 96 bits may be equal by chance, with no other
// harm than a wrong estimate.
class PageIndex {
 public:
  struct Options {
    // Distinct pages, and holders beyond the second of each: what comes beyond is not kept, but
    // counted.
    int64_t pages_max = 1 << 20;
    int window_pages = 16;  // Of the sliding window.
  };
  static constexpr int kWorkersMax = 1 << 16;

  explicit PageIndex(const Options& options);

  // REQUIRES: 0 <= worker < kWorkersMax. Repeated and unknown events change nothing.
  void Apply(int worker, absl::Span<const PageEvent> events);
  // The worker is gone, and with it all that it held. Reads the whole table.
  void RemoveWorker(int worker);

  // What each worker has of a prompt, given the keys of its whole pages: those that have any full
  // page of it, those with the most first, in `holders`, whose old contents go.
  void Lookup(absl::Span<const PageKey> keys, std::vector<PrefixHolder>& holders) const;

  int64_t page_count() const { return page_count_; }
  int64_t refused_count() const { return refused_count_; }
  int64_t memory_bytes() const;

  // Invariants: each entry can be found and has holders; digests are those of the holders; every
  // block of further holders belongs to one entry or is free.
  void CheckInvariants() const;

 private:
  // A worker with the tiers where it has the page: a bit for each, the full pool's three first.
  struct Holder {
    uint16_t worker = 0;
    uint8_t tiers = 0;  // 0: this place is free.
  };
  static constexpr int kInlineHolders = 2, kBlockHolders = 3;
  // Holders that have no place in the entry. Only the first block of an entry has free places.
  struct Block {
    Holder holders[kBlockHolders];
    uint32_t next = 0;  // Block; 0: none.
  };
  using CutKey = std::array<uint32_t, 3>;
  struct Entry {
    CutKey key = {};
    Holder holders[kInlineHolders];
    uint32_t more = 0;            // Block; 0: none.
    uint32_t full_digest = 0;     // Of the workers that have the full page, and of the tiers.
    uint32_t sliding_digest = 0;  // Of the workers that have the sliding page, in any tier.
    bool empty() const { return holders[0].tiers == 0; }
  };
  // Pages from the beginning of a prompt that have the same holders as the last of them.
  struct Stretch {
    int end = 0;
    const Entry* last = nullptr;
  };

  static CutKey Cut(const PageKey& key);
  size_t HomeOf(const CutKey& key) const;
  void Prefetch(const PageKey& key) const;
  const Entry* Find(const PageKey& key) const;
  void ApplyOne(int worker, const PageEvent& event);
  // Adds or takes away tiers of a worker. False if there is no room.
  bool SetTiers(Entry& entry, int worker, uint8_t tiers, bool stored);
  Holder* HolderOf(Entry& entry, int worker);
  Holder* NewHolder(Entry& entry);
  void RemoveHolder(Entry& entry, Holder* holder);
  void Erase(size_t slot);
  template <typename Visit>  // bool(const Holder&): whether to go on.
  void ForHolders(const Entry& entry, const Visit& visit) const;
  bool HasSliding(const Entry* entry, int worker) const;

  void FindStretches(absl::Span<const PageKey> keys, std::vector<Stretch>& stretches) const;
  void Bisect(absl::Span<const PageKey> keys, Stretch low, int high, uint32_t high_digest,
              std::vector<Stretch>& stretches) const;
  void FindUsable(absl::Span<const PageKey> keys, int missing,
                  std::vector<PrefixHolder>& holders) const;
  int RunEnd(absl::Span<const PageKey> keys, int inside, int worker) const;

  const int64_t pages_max_;
  const int window_pages_;
  std::vector<Entry> entries_;  // A power of two of them.
  std::vector<Block> blocks_;
  uint32_t free_block_ = 0;
  int64_t page_count_ = 0;
  int64_t refused_count_ = 0;
};

}  // namespace facet

#endif  // FACET_ROUTER_CLUSTER_PAGE_INDEX_H_
