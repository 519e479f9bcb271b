#include "worker/tiered_cache.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "kernels/device.h"

namespace facet {
namespace {

constexpr int32_t kNone = PrefixCache::kNone;
// One refused move in so many is done all the same: only moving measures whether it is still slow.
constexpr int64_t kRefusalsToMeasureAgain = 64;

}  // namespace

TieredCache::TieredCache(KvCache* device, HostTier* host, DiskTier* disk, PeerSource* peers,
                         std::function<absl::Time()> clock)
    : device_(*device), host_(host), disk_(disk), peers_(peers), clock_(std::move(clock)) {
  CHECK(host_ != nullptr || (disk_ == nullptr && peers_ == nullptr))
      << "pages from far arrive in host memory";
  if (host_ == nullptr) return;
  for (const KvPool pool : {KvPool::kFull, KvPool::kSliding}) {
    came_from_[static_cast<int>(pool)].resize(host_->slots().page_count(pool), Tier::kHost);
  }
  device_.pages().SetListener(this);
}

TieredCache::~TieredCache() {
  if (host_ != nullptr) device_.pages().SetListener(nullptr);
}

TierRates TieredCache::rates() const {
  return {prefill_rate_.per_s(), host_rate_.per_s(),
          disk_ == nullptr ? 0 : disk_->read_bytes_per_s(),
          peers_ == nullptr ? 0 : peers_->bytes_per_s()};
}

// --- What is where. ---

TieredCache::Tier TieredCache::TierOf(KvPool pool, const PageKey& key, Tier slowest) const {
  if (device_.pages().Lookup(pool, key) != kNone) return Tier::kDevice;
  if (host_->slots().Lookup(pool, key) != kNone) return Tier::kHost;
  if (!IsFar(slowest)) return Tier::kNone;
  const auto reading = reading_.find({pool, key});
  if (reading != reading_.end()) return reading->second.from;
  return disk_ != nullptr && disk_->Has({pool, key}) ? Tier::kDisk : Tier::kNone;
}

std::vector<TieredCache::Place> TieredCache::Places(absl::Span<const PageKey> keys, Tier slowest,
                                                    const PeerPrefix& peer) const {
  const int peer_full = slowest == Tier::kPeer ? peer.pages : 0;
  const int peer_sliding = peer_full - device_.pages().WindowPages(peer_full);  // the first
  std::vector<Place> places;
  for (const PageKey& key : keys) {
    const int i = static_cast<int>(places.size());
    Place place = {TierOf(KvPool::kFull, key, slowest), TierOf(KvPool::kSliding, key, slowest)};
    if (i < peer_full) {
      if (place.full == Tier::kNone) place.full = Tier::kPeer;
      if (place.sliding == Tier::kNone && i >= peer_sliding) place.sliding = Tier::kPeer;
    }
    if (place.full == Tier::kNone) break;
    places.push_back(place);
  }
  return places;
}

int TieredCache::LongestUsable(const std::vector<Place>& places) const {
  // What is in host memory already stays there while the rest is fetched.
  int64_t full_room = host_->slots().available(KvPool::kFull);
  int64_t sliding_room = host_->slots().available(KvPool::kSliding);
  for (const Place& place : places) {
    full_room -= place.full == Tier::kHost ? 1 : 0;
    sliding_room -= place.sliding == Tier::kHost ? 1 : 0;
  }
  const int count = static_cast<int>(places.size());
  const int window = device_.pages().WindowPages(count);
  const auto far = [&](int i) { return IsFar(places[i].sliding) ? 1 : 0; };
  int longest = 0, run = 0;
  int64_t full_reads = 0, sliding_reads = 0;  // of all so far, of the window so far
  for (int i = 0; i < count; ++i) {
    full_reads += IsFar(places[i].full) ? 1 : 0;
    if (full_reads > 0 && full_reads > full_room) break;
    run = places[i].sliding == Tier::kNone ? 0 : run + 1;
    sliding_reads += far(i) - (i >= window ? far(i - window) : 0);
    const bool fits = sliding_reads == 0 || sliding_reads <= sliding_room;
    if (run >= device_.pages().WindowPages(i + 1) && fits) longest = i + 1;
  }
  return longest;
}

TieredCache::Reach TieredCache::ReachOf(absl::Span<const PageKey> keys,
                                        const std::vector<Place>& places, int pages) const {
  Reach reach;
  reach.match.pages = pages;
  reach.match.known_pages = static_cast<int>(places.size());
  const auto add = [&](KvPool pool, int i, Tier tier, int32_t* taken) {
    if (tier == Tier::kDevice) {
      const PrefixCache& device = device_.pages();
      *taken += device.idle(pool, device.Lookup(pool, keys[i])) ? 1 : 0;
      return;
    }
    ++*taken;
    reach.host_bytes += device_.page_bytes(pool);
    if (!IsFar(tier)) return;
    ++reach.far_pages;
    (tier == Tier::kDisk ? reach.disk_bytes : reach.peer_bytes) += device_.page_bytes(pool);
  };
  for (int i = 0; i < pages; ++i) {
    add(KvPool::kFull, i, places[i].full, &reach.match.full_pages);
  }
  for (int i = pages - device_.pages().WindowPages(pages); i < pages; ++i) {
    add(KvPool::kSliding, i, places[i].sliding, &reach.match.sliding_pages);
  }
  return reach;
}

TieredCache::Reach TieredCache::NearReach(absl::Span<const PageKey> keys) const {
  const PrefixCache::Match device = device_.pages().Find(keys);
  Reach near;
  near.match = {device.pages, device.full_evictable, device.sliding_evictable, device.known_pages};
  if (host_ == nullptr || device.pages == static_cast<int>(keys.size())) return near;
  const std::vector<Place> places = Places(keys, Tier::kHost, {});
  near.match.known_pages = static_cast<int>(places.size());
  const Reach reach = ReachOf(keys, places, LongestUsable(places));
  const int64_t tokens = int64_t{reach.match.pages - device.pages} * kPageTokens;
  if (tokens <= 0 || !MoveIsSooner(reach.MoveOf(tokens), rates())) return near;
  return reach;
}

TieredCache::Match TieredCache::Find(absl::Span<const PageKey> keys) const {
  return NearReach(keys).match;
}

// --- From host memory to the device. ---

void TieredCache::HoldInHost(KvPool pool, const PageKey& key) {
  const int32_t slot = host_->slots().Lookup(pool, key);
  CHECK_NE(slot, kNone);
  host_->slots().AddReference(pool, slot);
}

void TieredCache::Hold(absl::Span<const PageKey> keys, int pages, std::vector<int32_t>* full,
                       std::vector<int32_t>* sliding) {
  device_.pages().Hold(keys, pages, full, sliding);
  const int first_sliding = pages - device_.pages().WindowPages(pages);
  for (int i = 0; i < pages; ++i) {
    if ((*full)[i] == kNone) HoldInHost(KvPool::kFull, keys[i]);
    if (i >= first_sliding && (*sliding)[i] == kNone) HoldInHost(KvPool::kSliding, keys[i]);
  }
}

int32_t TieredCache::CopyToDevice(KvPool pool, const PageKey& key, int depth, Tier* from) {
  const int32_t slot = host_->slots().Lookup(pool, key);
  int32_t page = device_.pages().Lookup(pool, key);
  if (page != kNone) {
    // Another prefix of this step brought it.
    device_.pages().AddReference(pool, page);
  } else {
    page = device_.pages().Take(pool);
    device_.CopyPageToDevice(pool, page, host_->memory(pool, slot));
    page = device_.pages().Publish(pool, page, key, depth);
    ++stats_.copies_to_device;
    *from = std::max(*from, std::exchange(came_from_[static_cast<int>(pool)][slot], Tier::kHost));
  }
  host_->slots().Release(pool, slot);
  return page;
}

TierTokens TieredCache::Fill(absl::Span<const PageKey> keys, int pages, std::vector<int32_t>* full,
                             std::vector<int32_t>* sliding) {
  const absl::Time begin = clock_();
  const int64_t copies_before = stats_.copies_to_device;
  int64_t bytes = 0;
  TierTokens tokens;
  const int first_sliding = pages - device_.pages().WindowPages(pages);
  for (int i = 0; i < pages; ++i) {
    Tier from = Tier::kDevice;
    if ((*full)[i] == kNone) {
      (*full)[i] = CopyToDevice(KvPool::kFull, keys[i], i, &from);
      bytes += device_.page_bytes(KvPool::kFull);
    }
    if (i >= first_sliding && (*sliding)[i] == kNone) {
      (*sliding)[i] = CopyToDevice(KvPool::kSliding, keys[i], i, &from);
      bytes += device_.page_bytes(KvPool::kSliding);
    }
    (from == Tier::kDevice ? tokens.device
     : from == Tier::kHost ? tokens.host
     : from == Tier::kDisk ? tokens.disk
                           : tokens.peer) += kPageTokens;
  }
  if (stats_.copies_to_device == copies_before) return tokens;
  device_.pages().MarkResumePoint(keys, pages);
  host_rate_.Add(static_cast<double>(bytes), clock_() - begin);
  return tokens;
}

// --- From the device to host memory. ---

int32_t TieredCache::CopyToHost(const PrefixCache::CachedPage& page) {
  PrefixCache& slots = host_->slots();
  if (slots.available(page.pool) == 0) return kNone;
  int32_t slot = slots.Take(page.pool);
  // Both ways are taken as equally fast, so a way back that was refused is measured all the same.
  const absl::Time begin = clock_();
  device_.CopyPageToHostBlocking(page.pool, page.page, host_->memory(page.pool, slot));
  host_rate_.Add(static_cast<double>(device_.page_bytes(page.pool)), clock_() - begin);
  came_from_[static_cast<int>(page.pool)][slot] = Tier::kHost;
  slot = slots.Publish(page.pool, slot, page.key, page.depth);
  slots.Release(page.pool, slot);
  ++stats_.copies_to_host;
  return slot;
}

void TieredCache::OnEvict(const PrefixCache::CachedPage& page) {
  const bool kept = page.pool == KvPool::kFull || page.resume_point;
  if (kept && host_->slots().Lookup(page.pool, page.key) == kNone) CopyToHost(page);
}

// --- From far to host memory. ---

uint64_t TieredCache::Fetch(absl::Span<const PageKey> keys, const PeerPrefix& peer) {
  const bool may_pull = peers_ != nullptr && peer.pages > 0;
  if (disk_ == nullptr && reading_.empty() && !may_pull) return 0;
  const int near_pages = NearReach(keys).match.pages;
  if (near_pages == static_cast<int>(keys.size())) return 0;
  const uint64_t ticket = may_pull ? FetchUpTo(Tier::kPeer, keys, peer, near_pages) : 0;
  return ticket > 0 ? ticket : FetchUpTo(Tier::kDisk, keys, {}, near_pages);
}

uint64_t TieredCache::FetchUpTo(Tier slowest, absl::Span<const PageKey> keys,
                                const PeerPrefix& peer, int near_pages) {
  const std::vector<Place> places = Places(keys, slowest, peer);
  const int pages = LongestUsable(places);
  if (pages <= near_pages) return 0;
  const Reach far = ReachOf(keys, places, pages);
  if (far.far_pages == 0) return 0;
  const int64_t tokens = int64_t{pages - near_pages} * kPageTokens;
  if (!MoveIsSooner(far.MoveOf(tokens), rates()) &&
      ++stats_.refused_moves % kRefusalsToMeasureAgain != 0) {
    return 0;
  }
  // What is in host memory already is held meanwhile: slots for the rest must not evict it.
  const int first_sliding = pages - device_.pages().WindowPages(pages);
  std::vector<std::pair<KvPool, int32_t>> held;
  const auto hold = [&](KvPool pool, const PageKey& key, Tier tier) {
    if (tier != Tier::kHost) return;
    HoldInHost(pool, key);
    held.emplace_back(pool, host_->slots().Lookup(pool, key));
  };
  for (int i = 0; i < pages; ++i) {
    hold(KvPool::kFull, keys[i], places[i].full);
    if (i >= first_sliding) hold(KvPool::kSliding, keys[i], places[i].sliding);
  }
  const uint64_t ticket = ++last_ticket_;
  std::vector<PageCopy> pulled;
  bool room = true;
  // Full pages first, as a pull wants them.
  for (int i = 0; i < pages && room; ++i) {
    if (!IsFar(places[i].full)) continue;
    room = FetchPage({KvPool::kFull, keys[i]}, i, places[i].full, ticket, &pulled);
  }
  for (int i = first_sliding; i < pages && room; ++i) {
    if (!IsFar(places[i].sliding)) continue;
    room = FetchPage({KvPool::kSliding, keys[i]}, i, places[i].sliding, ticket, &pulled);
  }
  for (const auto& [pool, slot] : held) host_->slots().Release(pool, slot);
  if (!pulled.empty()) {
    std::vector<Read*> reads;
    for (const PageCopy& page : pulled) reads.push_back(&reading_[page.key]);
    const uint64_t pull =
        peers_->Pull(peer.address, std::move(pulled), PullTimeout(tokens, rates()));
    for (Read* read : reads) read->pull = pull;
  }
  return ticket;
}

uint64_t TieredCache::FetchPages(absl::Span<const PoolKey> pages) {
  if (disk_ == nullptr) return 0;
  const uint64_t ticket = ++last_ticket_;
  for (size_t i = 0; i < pages.size(); ++i) {
    // What is pulled itself is not waited for: two workers might then wait for each other.
    if (TierOf(pages[i].first, pages[i].second, Tier::kDisk) != Tier::kDisk) continue;
    if (!FetchPage(pages[i], static_cast<int>(i), Tier::kDisk, ticket, nullptr)) break;
  }
  return ticket;
}

bool TieredCache::FetchPage(const PoolKey& key, int depth, Tier from, uint64_t ticket,
                            std::vector<PageCopy>* pulled) {
  const auto [pool, page] = key;
  auto reading = reading_.find(key);
  if (reading == reading_.end()) {
    if (host_->slots().available(pool) == 0) return false;
    const int32_t slot = host_->slots().Take(pool);
    uint8_t* const memory = host_->memory(pool, slot);
    if (from == Tier::kPeer) {
      pulled->push_back({key, slot, depth, memory});
    } else {
      CHECK(disk_->Enqueue({DiskTier::Operation::kRead, key, slot, depth, memory}));
    }
    reading = reading_.emplace(key, Read{from, 0, {}}).first;
  }
  reading->second.tickets.push_back(ticket);
  ++fetches_[ticket];
  return true;
}

void TieredCache::Forget(uint64_t ticket) {
  if (fetches_.erase(ticket) == 0) return;
  absl::flat_hash_set<uint64_t> left,
      wanted;  // pulls that it waited for; those that others wait for
  for (auto& [key, read] : reading_) {
    const auto found = std::find(read.tickets.begin(), read.tickets.end(), ticket);
    if (found != read.tickets.end()) {
      read.tickets.erase(found);
      left.insert(read.pull);
    }
    if (!read.tickets.empty()) wanted.insert(read.pull);
  }
  for (const uint64_t pull : left) {
    if (pull != 0 && !wanted.contains(pull)) peers_->Cancel(pull);
  }
}

void TieredCache::Arrive(const PoolKey& key, int32_t slot, int depth, bool ok) {
  const auto [pool, page] = key;
  const auto read = reading_.find(key);
  CHECK(read != reading_.end());
  for (const uint64_t ticket : read->second.tickets) {
    const auto fetch = fetches_.find(ticket);
    if (--fetch->second == 0) fetches_.erase(fetch);
  }
  if (ok) {
    came_from_[static_cast<int>(pool)][slot] = read->second.from;
    slot = host_->slots().Publish(pool, slot, page, depth);
  }
  host_->slots().Release(pool, slot);
  reading_.erase(read);
}

void TieredCache::TakeCompleted() {
  if (peers_ != nullptr) {
    for (const PageCopy& page : peers_->TakeCompleted()) {
      Arrive(page.key, page.slot, page.depth, page.ok);
    }
  }
  if (disk_ == nullptr) return;
  for (const DiskTier::Operation& operation : disk_->TakeCompleted()) {
    if (operation.kind == DiskTier::Operation::kRead) {
      Arrive(operation.key, operation.tag, operation.depth, operation.ok);
    } else {
      writing_.erase(operation.key);
      host_->slots().Release(operation.key.first, operation.tag);
    }
  }
}

// --- For other workers. ---

std::string TieredCache::CopyOutBlocking(const PoolKey& page) const {
  const auto [pool, key] = page;
  const int32_t on_device = device_.pages().Lookup(pool, key);
  const int32_t slot = host_ == nullptr ? kNone : host_->slots().Lookup(pool, key);
  std::string contents;
  if (on_device == kNone && slot == kNone) return contents;
  const int64_t bytes = device_.page_bytes(pool);
  if (slot != kNone) {
    contents.assign(reinterpret_cast<const char*>(host_->memory(pool, slot)), bytes);
  } else {
    contents.resize(bytes);
    device_.CopyPageToHostBlocking(pool, on_device, reinterpret_cast<uint8_t*>(contents.data()));
  }
  return contents;
}

// --- To disk. ---

void TieredCache::OnIdle(const PrefixCache::CachedPage& page) {
  const PoolKey key = {page.pool, page.key};
  if (disk_ == nullptr || disk_->Has(key) || !writing_.insert(key).second) return;
  pending_writes_.push_back({key, page.depth});
  const int64_t pages_max = int64_t{device_.plan().full_pages} + device_.plan().sliding_pages;
  if (static_cast<int64_t>(pending_writes_.size()) <= pages_max) return;
  writing_.erase(pending_writes_.front().key);
  pending_writes_.pop_front();
  ++stats_.dropped_writes;
}

bool TieredCache::WriteBehind(int64_t bytes_max) {
  if (disk_ == nullptr) return false;
  for (int64_t bytes = 0; !pending_writes_.empty() && disk_->HasRoomToWrite();) {
    if (bytes >= bytes_max) return true;
    const PendingWrite write = pending_writes_.front();
    if (!WritePage(write, &bytes)) return false;
    pending_writes_.pop_front();
  }
  return false;
}

bool TieredCache::WritePage(const PendingWrite& write, int64_t* bytes) {
  const auto [pool, key] = write.key;
  PrefixCache& slots = host_->slots();
  int32_t slot = slots.Lookup(pool, key);
  if (slot == kNone) {
    const int32_t page = device_.pages().Lookup(pool, key);
    if (page == kNone) {
      writing_.erase(write.key);
      ++stats_.dropped_writes;
      return true;
    }
    slot = CopyToHost(device_.pages().Describe(pool, page));
    if (slot == kNone) return false;
  }
  slots.AddReference(pool, slot);
  *bytes += host_->page_bytes(pool);
  CHECK(disk_->Enqueue(
      {DiskTier::Operation::kWrite, write.key, slot, write.depth, host_->memory(pool, slot)}));
  return true;
}

// --- Beginning and end. ---

void TieredCache::Start(std::function<void()> on_completed) {
  if (peers_ != nullptr) peers_->Start(on_completed);
  if (disk_ != nullptr) disk_->Start(std::move(on_completed));
}

void TieredCache::BlockingStop(absl::Duration timeout) {
  if (peers_ != nullptr) peers_->BlockingStop();
  TakeCompleted();
  if (disk_ == nullptr) return;
  const absl::Time deadline = absl::Now() + timeout;
  while (!writing_.empty() && absl::Now() < deadline) {
    WriteBehind(INT64_MAX);
    disk_->BlockingRunUntilCompleted(deadline);
    TakeCompleted();
  }
  const auto lost = static_cast<int64_t>(writing_.size());
  disk_->BlockingStop();
  TakeCompleted();
  for (const PendingWrite& write : std::exchange(pending_writes_, {})) writing_.erase(write.key);
  stats_.dropped_writes += lost;
  if (lost > 0) {
    LogWarning("disk tier: the time to stop is over; pages were not written", {{"pages", lost}});
  }
}

}  // namespace facet
