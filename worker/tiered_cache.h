#ifndef FACET_WORKER_TIERED_CACHE_H_
#define FACET_WORKER_TIERED_CACHE_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "proto/page_key.h"
#include "worker/disk_tier.h"
#include "worker/host_tier.h"
#include "worker/kv_cache.h"
#include "worker/prefix_cache.h"
#include "worker/tier_decision.h"

namespace facet {

// Tokens of a cached prefix by where its pages were. A page counts for the slowest tier that one of
// its two halves (full and sliding layers) came from.
struct TierTokens {
  int device = 0, host = 0, disk = 0;
  int sum() const { return device + host + disk; }
};

struct TieredCacheStats {
  int64_t copies_to_host = 0, copies_to_device = 0;  // pages
  int64_t refused_moves = 0;                         // computing was sooner
  int64_t dropped_writes = 0;  // evicted before there was time to write them to disk
};

// Cached prefixes over three tiers: the device's pages, host memory, and a local disk; either of
// the last two may be absent, and a disk needs host memory.
//
//   device --evicted--> host memory --evicted--> gone (but for what the disk has)
//   device or host memory --its last reference gone: written behind--> disk
//   disk --fetched while others compute--> host memory --copied at admission--> device
//
// What is moved: full pages, and sliding pages of resume points (prefix_cache.h); other sliding
// pages are hardly ever of use again. Each way back is taken only if measured speeds say that it is
// sooner than computing.
//
// Belongs to the engine's thread, all of it; only the callback of Start is called elsewhere. The
// cache and the tiers must outlive it.
class TieredCache final : public PrefixCache::Listener {
 public:
  // `host` and `disk` may be null. REQUIRES: a disk only with host memory.
  TieredCache(KvCache* device, HostTier* host, DiskTier* disk, std::function<absl::Time()> clock);
  ~TieredCache() override;
  TieredCache(const TieredCache&) = delete;
  TieredCache& operator=(const TieredCache&) = delete;

  // What of a chain of keys can be had without waiting, from its beginning.
  struct Match {
    int pages = 0;
    // Pages of the device that are counted as available now and no longer will be: evictable ones
    // of the prefix, and those that pages from host memory are copied to.
    int32_t full_pages = 0;
    int32_t sliding_pages = 0;
    // Full pages that are somewhere, from the beginning on: at the end of these this chain leaves
    // what was computed before.
    int known_pages = 0;
  };
  // Looks only.
  Match Find(absl::Span<const PageKey> keys) const;

  // Begins to read from disk what makes the prefix longer, if that is sooner than computing it.
  // Gives a ticket to ask FetchDone with; 0 if there is nothing to wait for.
  uint64_t Fetch(absl::Span<const PageKey> keys);
  bool FetchDone(uint64_t ticket) const { return ticket <= reads_completed_; }

  // Holds a prefix in two steps, so that of several prefixes none is evicted for another: Hold for
  // all, then Fill for each. As PrefixCache::Hold; Fill copies what is in host memory, and says
  // where the tokens came from. REQUIRES: `pages` is what Find gave for the same keys, and no page
  // was taken in between.
  void Hold(absl::Span<const PageKey> keys, int pages, std::vector<int32_t>* full,
            std::vector<int32_t>* sliding);
  TierTokens Fill(absl::Span<const PageKey> keys, int pages, std::vector<int32_t>* full,
                  std::vector<int32_t>* sliding);

  // So many tokens of prompts were computed in this time.
  void AddPrefill(int tokens, absl::Duration took) { prefill_rate_.Add(tokens, took); }
  double prefill_tokens_per_s() const { return prefill_rate_.per_s(); }

  // Starts the disk's thread; `on_completed` is called there when TakeCompleted has something.
  void Start(std::function<void()> on_completed);
  // Publishes what came from disk, lets go of what was written.
  void TakeCompleted();
  // Hands idle pages to the disk's queue, as far as it has room, and at most one more than
  // `bytes_max` of them. True: more could be handed over at once.
  bool WriteBehind(int64_t bytes_max);
  // Writes what is pending, for at most `timeout`; what is left then is lost, and counted. Ends the
  // disk's thread.
  void BlockingStop(absl::Duration timeout);

  const TieredCacheStats& stats() const { return stats_; }
  TierRates rates() const;

  void OnIdle(const PrefixCache::CachedPage& page) override;
  void OnEvict(const PrefixCache::CachedPage& page) override;

 private:
  enum class Tier : uint8_t { kDevice, kHost, kDisk, kNone };
  // Where the two halves of a page are, the fastest tier of each.
  struct Place {
    Tier full, sliding;
  };
  // A usable prefix and what it takes.
  struct Reach {
    Match match;
    int32_t full_reads = 0, sliding_reads = 0;  // pages on disk
    int64_t host_bytes = 0, disk_bytes = 0;
  };
  struct PendingWrite {
    PoolKey key;
    int depth;
  };

  Tier TierOf(KvPool pool, const PageKey& key, Tier slowest) const;
  // Of the chain's beginning, as far as full pages are in any tier up to `slowest`.
  std::vector<Place> Places(absl::Span<const PageKey> keys, Tier slowest) const;
  // The longest usable prefix whose pages on disk fit into host memory.
  int LongestUsable(const std::vector<Place>& places) const;
  Reach ReachOf(absl::Span<const PageKey> keys, const std::vector<Place>& places, int pages) const;
  // Of Find: on the device alone, or with host memory, whatever is sooner.
  Reach ReachWithoutDisk(absl::Span<const PageKey> keys) const;

  void HoldInHost(KvPool pool, const PageKey& key);
  // A page of the device with the contents that host memory has under `key`, and one reference.
  int32_t CopyToDevice(KvPool pool, const PageKey& key, int depth, Tier* from);
  // The slot of a copy, without a reference; kNone if all slots are held.
  int32_t CopyToHost(const PrefixCache::CachedPage& page);
  // Queues one read into a slot of its own; false if all slots are held.
  bool FetchPage(const PoolKey& key, int depth, uint64_t* ticket);
  // False: there is no slot to copy the page to now.
  bool WritePage(const PendingWrite& write, int64_t* bytes);

  KvCache& device_;
  HostTier* const host_;
  DiskTier* const disk_;
  const std::function<absl::Time()> clock_;

  uint64_t reads_queued_ = 0, reads_completed_ = 0;
  absl::flat_hash_map<PoolKey, uint64_t> reading_;  // with their tickets
  std::deque<PendingWrite> pending_writes_;         // no more than there are pages
  absl::flat_hash_set<PoolKey> writing_;            // pending, or queued
  std::vector<bool> from_disk_[2];                  // by slot: fetched and not used yet
  MeasuredRate prefill_rate_, host_rate_;
  TieredCacheStats stats_;
};

}  // namespace facet

#endif  // FACET_WORKER_TIERED_CACHE_H_
