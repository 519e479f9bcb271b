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

TieredCache::TieredCache(KvCache* device, HostTier* host, DiskTier* disk,
                         std::function<absl::Time()> clock)
    : device_(*device), host_(host), disk_(disk), clock_(std::move(clock)) {
  CHECK(disk_ == nullptr || host_ != nullptr) << "pages from disk arrive in host memory";
  if (host_ == nullptr) return;
  for (const KvPool pool : {KvPool::kFull, KvPool::kSliding}) {
    from_disk_[static_cast<int>(pool)].resize(host_->slots().page_count(pool));
  }
  device_.pages().SetListener(this);
}

TieredCache::~TieredCache() {
  if (host_ != nullptr) device_.pages().SetListener(nullptr);
}

TierRates TieredCache::rates() const {
  return {prefill_rate_.per_s(), host_rate_.per_s(),
          disk_ == nullptr ? 0 : disk_->read_bytes_per_s()};
}

// --- What is where. ---

TieredCache::Tier TieredCache::TierOf(KvPool pool, const PageKey& key, Tier slowest) const {
  if (device_.pages().Lookup(pool, key) != kNone) return Tier::kDevice;
  if (host_->slots().Lookup(pool, key) != kNone) return Tier::kHost;
  if (slowest == Tier::kDisk && disk_->Has({pool, key})) return Tier::kDisk;
  return Tier::kNone;
}

std::vector<TieredCache::Place> TieredCache::Places(absl::Span<const PageKey> keys,
                                                    Tier slowest) const {
  std::vector<Place> places;
  for (const PageKey& key : keys) {
    const Tier full = TierOf(KvPool::kFull, key, slowest);
    if (full == Tier::kNone) break;
    places.push_back({full, TierOf(KvPool::kSliding, key, slowest)});
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
  const auto on_disk = [&](int i) { return places[i].sliding == Tier::kDisk ? 1 : 0; };
  int longest = 0, run = 0;
  int64_t full_reads = 0, sliding_reads = 0;  // of all so far, of the window so far
  for (int i = 0; i < count; ++i) {
    full_reads += places[i].full == Tier::kDisk ? 1 : 0;
    if (full_reads > 0 && full_reads > full_room) break;
    run = places[i].sliding == Tier::kNone ? 0 : run + 1;
    sliding_reads += on_disk(i) - (i >= window ? on_disk(i - window) : 0);
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
  const auto add = [&](KvPool pool, int i, Tier tier, int32_t* taken, int32_t* reads) {
    if (tier == Tier::kDevice) {
      const PrefixCache& device = device_.pages();
      *taken += device.idle(pool, device.Lookup(pool, keys[i])) ? 1 : 0;
      return;
    }
    ++*taken;
    reach.host_bytes += device_.page_bytes(pool);
    if (tier != Tier::kDisk) return;
    ++*reads;
    reach.disk_bytes += device_.page_bytes(pool);
  };
  for (int i = 0; i < pages; ++i) {
    add(KvPool::kFull, i, places[i].full, &reach.match.full_pages, &reach.full_reads);
  }
  for (int i = pages - device_.pages().WindowPages(pages); i < pages; ++i) {
    add(KvPool::kSliding, i, places[i].sliding, &reach.match.sliding_pages, &reach.sliding_reads);
  }
  return reach;
}

TieredCache::Reach TieredCache::ReachWithoutDisk(absl::Span<const PageKey> keys) const {
  const PrefixCache::Match device = device_.pages().Find(keys);
  Reach near;
  near.match = {device.pages, device.full_evictable, device.sliding_evictable, device.known_pages};
  if (host_ == nullptr || device.pages == static_cast<int>(keys.size())) return near;
  const std::vector<Place> places = Places(keys, Tier::kHost);
  near.match.known_pages = static_cast<int>(places.size());
  const Reach reach = ReachOf(keys, places, LongestUsable(places));
  const int64_t tokens = int64_t{reach.match.pages - device.pages} * kPageTokens;
  if (tokens <= 0 || !MoveIsSooner({tokens, reach.host_bytes, 0}, rates())) return near;
  return reach;
}

TieredCache::Match TieredCache::Find(absl::Span<const PageKey> keys) const {
  return ReachWithoutDisk(keys).match;
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
    std::vector<bool>& from_disk = from_disk_[static_cast<int>(pool)];
    *from = std::max(*from, from_disk[slot] ? Tier::kDisk : Tier::kHost);
    from_disk[slot] = false;
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
                           : tokens.disk) += kPageTokens;
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
  from_disk_[static_cast<int>(page.pool)][slot] = false;
  slot = slots.Publish(page.pool, slot, page.key, page.depth);
  slots.Release(page.pool, slot);
  ++stats_.copies_to_host;
  return slot;
}

void TieredCache::OnEvict(const PrefixCache::CachedPage& page) {
  const bool kept = page.pool == KvPool::kFull || page.resume_point;
  if (kept && host_->slots().Lookup(page.pool, page.key) == kNone) CopyToHost(page);
}

// --- From disk to host memory. ---

uint64_t TieredCache::Fetch(absl::Span<const PageKey> keys) {
  if (disk_ == nullptr) return 0;
  const Reach near = ReachWithoutDisk(keys);
  if (near.match.pages == static_cast<int>(keys.size())) return 0;
  const std::vector<Place> places = Places(keys, Tier::kDisk);
  const int pages = LongestUsable(places);
  if (pages <= near.match.pages) return 0;
  const Reach far = ReachOf(keys, places, pages);
  if (far.full_reads + far.sliding_reads == 0) return 0;
  const int64_t tokens = int64_t{pages - near.match.pages} * kPageTokens;
  if (!MoveIsSooner({tokens, far.host_bytes, far.disk_bytes}, rates()) &&
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
  uint64_t ticket = 0;
  bool room = true;
  for (int i = 0; i < pages && room; ++i) {
    if (places[i].full == Tier::kDisk) room = FetchPage({KvPool::kFull, keys[i]}, i, &ticket);
    if (room && i >= first_sliding && places[i].sliding == Tier::kDisk) {
      room = FetchPage({KvPool::kSliding, keys[i]}, i, &ticket);
    }
  }
  for (const auto& [pool, slot] : held) host_->slots().Release(pool, slot);
  return ticket;
}

bool TieredCache::FetchPage(const PoolKey& key, int depth, uint64_t* ticket) {
  const auto reading = reading_.find(key);
  if (reading != reading_.end()) {
    *ticket = std::max(*ticket, reading->second);
    return true;
  }
  if (host_->slots().available(key.first) == 0) return false;
  const int32_t slot = host_->slots().Take(key.first);
  CHECK(disk_->Enqueue(
      {DiskTier::Operation::kRead, key, slot, depth, host_->memory(key.first, slot)}));
  *ticket = ++reads_queued_;
  reading_[key] = *ticket;
  return true;
}

void TieredCache::TakeCompleted() {
  if (disk_ == nullptr) return;
  PrefixCache& slots = host_->slots();
  for (const DiskTier::Operation& operation : disk_->TakeCompleted()) {
    const KvPool pool = operation.key.first;
    int32_t slot = operation.tag;
    if (operation.kind == DiskTier::Operation::kRead) {
      ++reads_completed_;
      reading_.erase(operation.key);
      if (operation.ok) {
        from_disk_[static_cast<int>(pool)][slot] = true;
        slot = slots.Publish(pool, slot, operation.key.second, operation.depth);
      }
    } else {
      writing_.erase(operation.key);
    }
    slots.Release(pool, slot);
  }
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
  if (disk_ != nullptr) disk_->Start(std::move(on_completed));
}

void TieredCache::BlockingStop(absl::Duration timeout) {
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
