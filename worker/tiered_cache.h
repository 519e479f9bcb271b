#ifndef FACET_WORKER_TIERED_CACHE_H_
#define FACET_WORKER_TIERED_CACHE_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "proto/page_key.h"
#include "worker/disk_tier.h"
#include "worker/host_tier.h"
#include "worker/kv_cache.h"
#include "worker/peer_source.h"
#include "worker/prefix_cache.h"
#include "worker/tier_decision.h"

namespace facet {

// Tokens of a cached prefix by where its pages were. A page counts for the slowest tier that one of
// its two halves (full and sliding layers) came from.
struct TierTokens {
  int device = 0, host = 0, disk = 0, peer = 0;
  int sum() const { return device + host + disk + peer; }
};

struct TieredCacheStats {
  int64_t copies_to_host = 0, copies_to_device = 0;  // pages
  int64_t refused_moves = 0;                         // computing was sooner
  int64_t dropped_writes = 0;  // evicted before there was time to write them to disk
};

// A worker that has the first pages of a prefix: so many that it could go on from there itself.
struct PeerPrefix {
  std::string address;
  int pages = 0;  // 0: nobody is known
};

// Cached prefixes over three tiers: the device's pages, host memory, and a local disk; and over
// other workers, which have tiers of their own. All but the first may be absent; disk and other
// workers need host memory, where their pages arrive.
//
//   device --evicted--> host memory --evicted--> gone (but for what the disk has)
//   device or host memory --its last reference gone: written behind--> disk
//   disk --fetched while others compute--> host memory --copied at admission--> device
//   another worker --pulled, likewise--> host memory
//
// What is moved: full pages, and sliding pages of resume points (prefix_cache.h); other sliding
// pages are hardly ever of use again. Each way back is taken only if measured speeds say that it is
// sooner than computing.
//
// Belongs to the engine's thread, all of it; only the callback of Start is called elsewhere. The
// cache and the tiers must outlive it.
class TieredCache final : public PrefixCache::Listener {
 public:
  // `host`, `disk` and `peers` may be null. REQUIRES: the last two only with host memory.
  TieredCache(KvCache* device, HostTier* host, DiskTier* disk, PeerSource* peers,
              std::function<absl::Time()> clock);
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

  // Begins to read from disk, or pull from `peer`, what makes the prefix longer, if that is sooner
  // than computing it. Gives a ticket to ask FetchDone with; 0 if there is nothing to wait for.
  uint64_t Fetch(absl::Span<const PageKey> keys, const PeerPrefix& peer = {});
  // Begins to read those of these pages that are on disk alone, for CopyOut.
  uint64_t FetchPages(absl::Span<const PoolKey> pages);
  bool FetchDone(uint64_t ticket) const { return !fetches_.contains(ticket); }
  // Nobody waits for it any more: what is pulled for it alone is not pulled further. Tickets that
  // are done are ignored.
  void Forget(uint64_t ticket);

  // The contents of a page that is on the device or in host memory; empty if it is in neither.
  std::string CopyOutBlocking(const PoolKey& page) const;

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

  // Starts the disk's thread; `on_completed` is called there, or where pages of other workers
  // arrive, when TakeCompleted has something.
  void Start(std::function<void()> on_completed);
  // Publishes what came, lets go of what was written.
  void TakeCompleted();
  // Hands idle pages to the disk's queue, as far as it has room, and at most one more than
  // `bytes_max` of them. True: more could be handed over at once.
  bool WriteBehind(int64_t bytes_max);
  // Writes what is pending, for at most `timeout`; what is left then is lost, and counted. Ends the
  // disk's thread, and pulls that are under way.
  void BlockingStop(absl::Duration timeout);

  const TieredCacheStats& stats() const { return stats_; }
  PeerStats peer_stats() const { return peers_ == nullptr ? PeerStats() : peers_->stats(); }
  TierRates rates() const;

  void OnIdle(const PrefixCache::CachedPage& page) override;
  void OnEvict(const PrefixCache::CachedPage& page) override;

 private:
  enum class Tier : uint8_t { kDevice, kHost, kDisk, kPeer, kNone };
  static bool IsFar(Tier tier) { return tier == Tier::kDisk || tier == Tier::kPeer; }
  // Where the two halves of a page are, the fastest tier of each.
  struct Place {
    Tier full, sliding;
  };
  // A usable prefix and what it takes.
  struct Reach {
    Match match;
    int32_t far_pages = 0;  // on disk or at another worker
    int64_t host_bytes = 0, disk_bytes = 0, peer_bytes = 0;
    TierMove MoveOf(int64_t tokens) const { return {tokens, host_bytes, disk_bytes, peer_bytes}; }
  };
  // A page on its way to host memory.
  struct Read {
    Tier from;
    uint64_t pull;                  // 0: from disk
    std::vector<uint64_t> tickets;  // of those that wait for it
  };
  struct PendingWrite {
    PoolKey key;
    int depth;
  };

  Tier TierOf(KvPool pool, const PageKey& key, Tier slowest) const;
  // Of the chain's beginning, as far as full pages are in any tier up to `slowest`.
  std::vector<Place> Places(absl::Span<const PageKey> keys, Tier slowest,
                            const PeerPrefix& peer) const;
  // The longest usable prefix whose far pages fit into host memory.
  int LongestUsable(const std::vector<Place>& places) const;
  Reach ReachOf(absl::Span<const PageKey> keys, const std::vector<Place>& places, int pages) const;
  // Of Find: on the device alone, or with host memory, whatever is sooner.
  Reach NearReach(absl::Span<const PageKey> keys) const;
  // Fetch from tiers up to `slowest`, to go on after more than `near_pages` pages.
  uint64_t FetchUpTo(Tier slowest, absl::Span<const PageKey> keys, const PeerPrefix& peer,
                     int near_pages);

  void HoldInHost(KvPool pool, const PageKey& key);
  // A page of the device with the contents that host memory has under `key`, and one reference.
  int32_t CopyToDevice(KvPool pool, const PageKey& key, int depth, Tier* from);
  // The slot of a copy, without a reference; kNone if all slots are held.
  int32_t CopyToHost(const PrefixCache::CachedPage& page);
  // Lets `ticket` wait for a page: one that is on its way, or that is queued to be read from disk
  // or put into `pulled`, into a slot of its own. False if all slots are held.
  bool FetchPage(const PoolKey& key, int depth, Tier from, uint64_t ticket,
                 std::vector<PageCopy>* pulled);
  void Arrive(const PoolKey& key, int32_t slot, int depth, bool ok);
  // False: there is no slot to copy the page to now.
  bool WritePage(const PendingWrite& write, int64_t* bytes);

  KvCache& device_;
  HostTier* const host_;
  DiskTier* const disk_;
  PeerSource* const peers_;
  const std::function<absl::Time()> clock_;

  uint64_t last_ticket_ = 0;
  absl::flat_hash_map<uint64_t, int> fetches_;  // by ticket: pages that are still to come
  absl::flat_hash_map<PoolKey, Read> reading_;  // each with a slot that is held for it
  std::deque<PendingWrite> pending_writes_;     // no more than there are pages
  absl::flat_hash_set<PoolKey> writing_;        // pending, or queued
  // By slot: where its page came from, until it was used.
  std::vector<Tier> came_from_[2];
  MeasuredRate prefill_rate_, host_rate_;
  TieredCacheStats stats_;
};

}  // namespace facet

#endif  // FACET_WORKER_TIERED_CACHE_H_
