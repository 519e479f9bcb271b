#include "router/cluster/page_index.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace facet {
namespace {

// Entries for each page that may be kept: short searches for 45 bytes a page.
constexpr double kSlotsPerPage = 1 / 0.7;
// How many events ahead an entry is fetched from memory.
constexpr size_t kPrefetchAhead = 16;

constexpr uint8_t kFullTiers = 0b000111, kSlidingTiers = 0b111000;
constexpr int kSlidingShift = 3;
constexpr uint8_t kFullDevice = 1 << static_cast<int>(PageTier::kDevice);

uint8_t TierBit(const PageEvent& event) {
  return static_cast<uint8_t>(
      1 << (static_cast<int>(event.tier) + (event.sliding ? kSlidingShift : 0)));
}

// A holder's part of a digest; 0 for none. The finalizer of MurmurHash3 (Austin Appleby, public
// domain): all bits of the result depend on all bits of `value`.
uint32_t Mixed(uint32_t value) {
  value ^= value >> 16;
  value *= 0x85ebca6b;
  value ^= value >> 13;
  value *= 0xc2b2ae35;
  return value ^ (value >> 16);
}
uint32_t FullDigest(int worker, uint8_t tiers) {
  const uint32_t full = tiers & kFullTiers;
  return full == 0 ? 0 : Mixed((static_cast<uint32_t>(worker) + 1) << 3 | full);
}
uint32_t SlidingDigest(int worker, uint8_t tiers) {
  return (tiers & kSlidingTiers) == 0 ? 0 : Mixed((static_cast<uint32_t>(worker) + 1) << 3);
}

// Where each worker stood in the list of holders that this thread wrote last: never cleared, so
// what is read there may be stale.
uint16_t& PlaceOf(int worker) {
  thread_local std::vector<uint16_t> places(PageIndex::kWorkersMax);
  return places[worker];
}

PrefixHolder* FindWorker(std::vector<PrefixHolder>& holders, int worker) {
  const uint16_t place = PlaceOf(worker);
  return place < holders.size() && holders[place].worker == worker ? &holders[place] : nullptr;
}

}  // namespace

PageIndex::PageIndex(const Options& options)
    : pages_max_(options.pages_max), window_pages_(options.window_pages) {
  CHECK(pages_max_ > 0 && pages_max_ < (int64_t{1} << 31));
  CHECK(window_pages_ > 0);
  entries_.resize(static_cast<size_t>(static_cast<double>(pages_max_) * kSlotsPerPage) + 1);
  blocks_.reserve(pages_max_ + 1);  // Address space alone: no block is written before it is needed.
  blocks_.emplace_back();           // Number 0 means none.
}

int64_t PageIndex::memory_bytes() const {
  return static_cast<int64_t>(entries_.size() * sizeof(Entry) + blocks_.size() * sizeof(Block));
}

// -------------------------------------------------------------------------- entries

PageIndex::CutKey PageIndex::Cut(const PageKey& key) {
  CutKey cut;
  std::memcpy(cut.data(), key.data(), sizeof(cut));
  return cut;
}

// Keys are parts of SHA-256, so their bits are as good as random.
size_t PageIndex::HomeOf(const CutKey& key) const {
  return static_cast<size_t>(uint64_t{key[0]} * entries_.size() >> 32);
}

void PageIndex::Prefetch(const PageKey& key) const {
  __builtin_prefetch(&entries_[HomeOf(Cut(key))]);
}

const PageIndex::Entry* PageIndex::Find(const PageKey& key) const {
  const CutKey cut = Cut(key);
  for (size_t slot = HomeOf(cut);; slot = slot + 1 == entries_.size() ? 0 : slot + 1) {
    const Entry& entry = entries_[slot];
    if (entry.empty()) return nullptr;
    if (entry.key == cut) return &entry;
  }
}

// Entries behind the gap move up, so that a search may end at the first empty one.
void PageIndex::Erase(size_t slot) {
  const size_t count = entries_.size();
  size_t gap = slot;
  for (size_t next = (gap + 1) % count; !entries_[next].empty(); next = (next + 1) % count) {
    const size_t home = HomeOf(entries_[next].key);
    // Whether its search begins behind the gap: then it is found without passing it.
    const bool behind = gap <= next ? gap < home && home <= next : gap < home || home <= next;
    if (behind) continue;
    entries_[gap] = entries_[next];
    gap = next;
  }
  entries_[gap] = Entry();
  --page_count_;
}

// -------------------------------------------------------------------------- holders

template <typename Visit>
void PageIndex::ForHolders(const Entry& entry, const Visit& visit) const {
  for (const Holder& holder : entry.holders) {
    if (holder.tiers == 0 || !visit(holder)) return;
  }
  for (uint32_t block = entry.more; block != 0; block = blocks_[block].next) {
    for (const Holder& holder : blocks_[block].holders) {
      if (holder.tiers != 0 && !visit(holder)) return;
    }
  }
}

PageIndex::Holder* PageIndex::HolderOf(Entry& entry, int worker) {
  Holder* found = nullptr;
  ForHolders(entry, [&](const Holder& holder) {
    if (holder.worker == worker) found = const_cast<Holder*>(&holder);
    return found == nullptr;
  });
  return found;
}

PageIndex::Holder* PageIndex::NewHolder(Entry& entry) {
  for (Holder& holder : entry.holders) {
    if (holder.tiers == 0) return &holder;
  }
  if (entry.more != 0) {
    for (Holder& holder : blocks_[entry.more].holders) {
      if (holder.tiers == 0) return &holder;
    }
  }
  uint32_t block = free_block_;
  if (block != 0) {
    free_block_ = blocks_[block].next;
  } else {
    if (static_cast<int64_t>(blocks_.size()) > pages_max_) return nullptr;
    block = static_cast<uint32_t>(blocks_.size());
    blocks_.emplace_back();
  }
  blocks_[block].next = entry.more;
  entry.more = block;
  return &blocks_[block].holders[0];
}

// Another holder takes its place, so that none but the first block has gaps.
void PageIndex::RemoveHolder(Entry& entry, Holder* holder) {
  if (entry.more == 0) {
    Holder& last = entry.holders[entry.holders[1].tiers != 0 ? 1 : 0];
    *holder = last;
    last = Holder();
    return;
  }
  Block& block = blocks_[entry.more];
  int last = kBlockHolders - 1;
  while (block.holders[last].tiers == 0) --last;
  *holder = block.holders[last];
  block.holders[last] = Holder();
  if (last > 0) return;
  const uint32_t freed = entry.more;
  entry.more = block.next;
  block.next = free_block_;
  free_block_ = freed;
}

bool PageIndex::HasSliding(const Entry* entry, int worker) const {
  bool found = false;
  if (entry == nullptr || entry->sliding_digest == 0) return false;
  ForHolders(*entry, [&](const Holder& holder) {
    if (holder.worker != worker) return true;
    found = (holder.tiers & kSlidingTiers) != 0;
    return false;
  });
  return found;
}

// -------------------------------------------------------------------------- changes

void PageIndex::Apply(int worker, absl::Span<const PageEvent> events) {
  CHECK(worker >= 0 && worker < kWorkersMax);
  for (size_t i = 0; i < std::min(kPrefetchAhead, events.size()); ++i) Prefetch(events[i].key);
  for (size_t i = 0; i < events.size(); ++i) {
    if (i + kPrefetchAhead < events.size()) Prefetch(events[i + kPrefetchAhead].key);
    ApplyOne(worker, events[i]);
  }
}

void PageIndex::ApplyOne(int worker, const PageEvent& event) {
  const CutKey key = Cut(event.key);
  size_t slot = HomeOf(key);
  while (!entries_[slot].empty() && entries_[slot].key != key) {
    slot = slot + 1 == entries_.size() ? 0 : slot + 1;
  }
  Entry& entry = entries_[slot];
  if (entry.empty()) {
    if (!event.stored) return;
    if (page_count_ == pages_max_) {
      ++refused_count_;
      return;
    }
    entry.key = key;
    ++page_count_;
  }
  if (!SetTiers(entry, worker, TierBit(event), event.stored)) ++refused_count_;
  if (entry.empty()) Erase(slot);
}

bool PageIndex::SetTiers(Entry& entry, int worker, uint8_t tiers, bool stored) {
  Holder* holder = HolderOf(entry, worker);
  if (holder == nullptr) {
    if (!stored) return true;
    holder = NewHolder(entry);
    if (holder == nullptr) return false;
    *holder = Holder{static_cast<uint16_t>(worker), 0};
  }
  const uint8_t before = holder->tiers;
  const auto after = static_cast<uint8_t>(stored ? before | tiers : before & ~tiers);
  entry.full_digest ^= FullDigest(worker, before) ^ FullDigest(worker, after);
  entry.sliding_digest ^= SlidingDigest(worker, before) ^ SlidingDigest(worker, after);
  if (after == 0) {
    RemoveHolder(entry, holder);
  } else {
    holder->tiers = after;
  }
  return true;
}

void PageIndex::RemoveWorker(int worker) {
  for (size_t slot = 0; slot < entries_.size(); ++slot) {
    Entry& entry = entries_[slot];
    // Erasing moves another entry here.
    while (!entry.empty() && HolderOf(entry, worker) != nullptr) {
      SetTiers(entry, worker, kFullTiers | kSlidingTiers, /*stored=*/false);
      if (entry.empty()) Erase(slot);
    }
  }
}

// -------------------------------------------------------------------------- looking up

void PageIndex::Lookup(absl::Span<const PageKey> keys, std::vector<PrefixHolder>& holders) const {
  thread_local std::vector<Stretch> stretches;
  holders.clear();
  FindStretches(keys, stretches);
  // The deepest first: its holders have all pages before it too.
  for (size_t i = stretches.size(); i-- > 0;) {
    const int begin = i == 0 ? 0 : stretches[i - 1].end, end = stretches[i].end;
    const size_t first_new = holders.size();
    ForHolders(*stretches[i].last, [&](const Holder& holder) {
      if ((holder.tiers & kFullTiers) == 0) return true;
      PrefixHolder* found = FindWorker(holders, holder.worker);
      if (found == nullptr) {
        PlaceOf(holder.worker) = static_cast<uint16_t>(holders.size());
        found = &holders.emplace_back(PrefixHolder{holder.worker, 0, end, 0});
      }
      if ((holder.tiers & kFullDevice) != 0) found->device_pages += end - begin;
      return true;
    });
    if (holders.size() > first_new) {
      FindUsable(keys.first(end), static_cast<int>(holders.size() - first_new), holders);
    }
  }
}

void PageIndex::FindStretches(absl::Span<const PageKey> keys,
                              std::vector<Stretch>& stretches) const {
  stretches.clear();
  if (keys.empty()) return;
  Prefetch(keys.back());
  const Entry* first = Find(keys[0]);
  if (first == nullptr || first->full_digest == 0) return;
  const int count = static_cast<int>(keys.size());
  const Entry* last = Find(keys.back());
  const uint32_t last_digest = last == nullptr ? 0 : last->full_digest;
  if (last_digest != first->full_digest) {
    Bisect(keys, {1, first}, count, last_digest, stretches);
  }
  if (last_digest != 0) stretches.push_back({count, last});
}

// Finds where the holders change between page low.end - 1, whose entry is low.last, and page
// high - 1, whose holders differ from it.
void PageIndex::Bisect(absl::Span<const PageKey> keys, Stretch low, int high, uint32_t high_digest,
                       std::vector<Stretch>& stretches) const {
  while (high - low.end > 1) {
    const int middle = low.end + (high - low.end) / 2;
    const Entry* entry = Find(keys[middle - 1]);
    const uint32_t digest = entry == nullptr ? 0 : entry->full_digest;
    if (digest == high_digest) {
      high = middle;
    } else if (digest == low.last->full_digest) {
      low = {middle, entry};
    } else {
      Bisect(keys, low, middle, digest, stretches);
      if (digest == 0) return;
      low = {middle, entry};
    }
  }
  stretches.push_back(low);
}

// All of `keys` are full pages of the last `missing` of `holders`. A run of at least window_pages_
// pages includes one of every window_pages_ places, so only these are looked at; and page 0, since
// a run from the prompt's beginning is long enough at any length.
void PageIndex::FindUsable(absl::Span<const PageKey> keys, int missing,
                           std::vector<PrefixHolder>& holders) const {
  const int count = static_cast<int>(keys.size());
  for (int page = std::max(0, count - window_pages_); page < count; ++page) Prefetch(keys[page]);
  constexpr int kStridesAhead = 8;
  for (int next = count - 1, page = count; page > 0 && missing > 0; next -= window_pages_) {
    page = std::max(next, 0);
    const int ahead = page - kStridesAhead * window_pages_;
    if (ahead >= 0) Prefetch(keys[ahead]);
    const Entry* entry = Find(keys[page]);
    if (entry == nullptr || entry->sliding_digest == 0) continue;
    // As long as the workers that have the sliding page are the same, what holds for one of them
    // holds for all.
    const auto digest = [&](int other) {
      const Entry* at = Find(keys[other]);
      return at == nullptr ? 0 : at->sliding_digest;
    };
    int begin = page, end = page + 1;
    while (end < count && digest(end) == entry->sliding_digest) ++end;
    while (begin > 0 && end - begin < window_pages_ && digest(begin - 1) == entry->sliding_digest) {
      --begin;
    }
    const bool all_end = end == count || digest(end) == 0;
    const bool all_usable = all_end && (begin == 0 || end - begin >= window_pages_);
    ForHolders(*entry, [&](const Holder& holder) {
      if ((holder.tiers & kSlidingTiers) == 0) return true;
      PrefixHolder* found = FindWorker(holders, holder.worker);
      if (found == nullptr || found->full_pages != count || found->usable_pages > 0) return true;
      found->usable_pages = all_usable ? end : RunEnd(keys, page, holder.worker);
      if (found->usable_pages > 0) --missing;
      return true;
    });
  }
}

// The end of the worker's run of sliding pages that has page `inside`, if it can be gone on from;
// else 0.
int PageIndex::RunEnd(absl::Span<const PageKey> keys, int inside, int worker) const {
  const int count = static_cast<int>(keys.size());
  int begin = inside, end = inside + 1;
  while (end < count && HasSliding(Find(keys[end]), worker)) ++end;
  while (begin > 0 && end - begin < window_pages_ && HasSliding(Find(keys[begin - 1]), worker)) {
    --begin;
  }
  return begin == 0 || end - begin >= window_pages_ ? end : 0;
}

// -------------------------------------------------------------------------- invariants

void PageIndex::CheckInvariants() const {
  int64_t pages = 0;
  std::vector<bool> used(blocks_.size());
  for (const Entry& entry : entries_) {
    if (entry.empty()) {
      CHECK(entry.more == 0);
      continue;
    }
    ++pages;
    PageKey key = {};
    std::memcpy(key.data(), entry.key.data(), sizeof(entry.key));
    CHECK(Find(key) == &entry);
    uint32_t full = 0, sliding = 0;
    std::vector<int> workers;
    ForHolders(entry, [&](const Holder& holder) {
      full ^= FullDigest(holder.worker, holder.tiers);
      sliding ^= SlidingDigest(holder.worker, holder.tiers);
      workers.push_back(holder.worker);
      return true;
    });
    CHECK(full == entry.full_digest && sliding == entry.sliding_digest);
    std::sort(workers.begin(), workers.end());
    CHECK(std::adjacent_find(workers.begin(), workers.end()) == workers.end());
    for (uint32_t block = entry.more; block != 0; block = blocks_[block].next) {
      CHECK(!used[block]);
      used[block] = true;
    }
  }
  CHECK(pages == page_count_);
  for (uint32_t block = free_block_; block != 0; block = blocks_[block].next) {
    CHECK(!used[block]);
    used[block] = true;
  }
  for (size_t block = 1; block < blocks_.size(); ++block) CHECK(used[block]);
}

}  // namespace facet
