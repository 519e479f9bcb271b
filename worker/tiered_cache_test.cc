#include "worker/tiered_cache.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/cpu/cpu_device.h"
#include "worker/testing/fake_peers.h"

namespace facet {
namespace {

constexpr int kWindowTokens = 128;  // two pages

TextConfig SmallConfig() {
  TextConfig config = {};
  config.sliding_window_tokens = kWindowTokens;
  config.layers = {{true, 1, 16}, {false, 1, 16}};
  return config;
}

KvPlan SmallPlan(int32_t full_pages, int32_t sliding_pages) {
  KvPlan plan;
  plan.full_pages = full_pages;
  plan.sliding_pages = sliding_pages;
  plan.full_page_bytes = plan.sliding_page_bytes = int64_t{kPageTokens} * 16 * 2 * 4;
  return plan;
}

// The keys of a chain of `count` pages.
std::vector<PageKey> Chain(int number, int count) {
  std::vector<PageKey> keys;
  PageKey key = RootPageKey(absl::StrCat(number));
  for (int i = 0; i < count; ++i) {
    key = NextPageKey(key, std::vector<int32_t>(kPageTokens, i));
    keys.push_back(key);
  }
  return keys;
}

struct Held {
  std::vector<int32_t> full, sliding;
};

// A device of 8 full and 8 sliding pages over host memory of `host_pages` of each, and a disk.
class TieredCacheTest : public ::testing::Test {
 protected:
  TieredCacheTest() {
    std::string pattern = absl::StrCat(::testing::TempDir(), "/tiered_cache_XXXXXX");
    CHECK_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    processor_ = MakeCpuDevice({1, "auto"}).value();
  }
  ~TieredCacheTest() override {
    Stop();
    std::filesystem::remove_all(folder_);
  }

  // As a restarted process does; what was pending is lost.
  void Start(int host_pages, bool with_disk) {
    Stop();
    const KvPlan plan = SmallPlan(8, 8);
    device_ = std::make_unique<KvCache>(KvCache::Make(SmallConfig(), plan, *processor_).value());
    if (host_pages > 0) {
      host_ = HostTier::Make(plan, kWindowTokens, plan.bytes() * host_pages / 8).value();
    }
    if (with_disk) {
      DiskTierOptions options;
      options.folder = folder_;
      options.bytes_max = 1 << 30;
      options.page_bytes[0] = options.page_bytes[1] = plan.full_page_bytes;
      options.queued_writes_max = 4;
      options.clock = Clock();
      disk_ = std::make_unique<DiskTier>(options);
    }
    tiers_ = std::make_unique<TieredCache>(device_.get(), host_.get(), disk_.get(),
                                           host_ == nullptr ? nullptr : &peers_, Clock());
  }
  void Stop() {
    tiers_.reset();
    disk_.reset();
    host_.reset();
    device_.reset();
  }
  std::function<absl::Time()> Clock() {
    return [this] { return now_ += tick_; };
  }

  std::vector<uint8_t> ContentsOf(KvPool pool, const PageKey& key) {
    std::vector<uint8_t> contents(device_->page_bytes(pool));
    for (size_t i = 0; i < contents.size(); ++i) {
      contents[i] = static_cast<uint8_t>(key[i % 16] + i / 16 + static_cast<size_t>(pool));
    }
    return contents;
  }

  // Computes and publishes pages from where `held` ends.
  void Compute(absl::Span<const PageKey> keys, Held& held) {
    PrefixCache& pages = device_->pages();
    for (size_t i = held.full.size(); i < keys.size(); ++i) {
      for (const KvPool pool : {KvPool::kFull, KvPool::kSliding}) {
        const int32_t page = pages.Take(pool);
        device_->CopyPageToDevice(pool, page, ContentsOf(pool, keys[i]).data());
        (pool == KvPool::kFull ? held.full : held.sliding)
            .push_back(pages.Publish(pool, page, keys[i], static_cast<int>(i)));
      }
    }
  }
  void Release(absl::Span<const PageKey> keys, Held& held) {
    device_->pages().MarkResumePoint(keys, static_cast<int>(held.full.size()));
    for (const int32_t page : held.full) device_->pages().Release(KvPool::kFull, page);
    for (const int32_t page : held.sliding) {
      if (page != PrefixCache::kNone) device_->pages().Release(KvPool::kSliding, page);
    }
    held = {};
  }
  void ComputeAndRelease(absl::Span<const PageKey> keys) {
    Held held;
    Compute(keys, held);
    Release(keys, held);
  }
  std::string TextOf(const PoolKey& page) {
    const std::vector<uint8_t> contents = ContentsOf(page.first, page.second);
    return {contents.begin(), contents.end()};
  }
  // All that is asked of other workers comes, or fails to.
  void RunPeers(bool well = true) {
    while (peers_.RunOnce(well)) {
    }
    tiers_->TakeCompleted();
  }

  // Takes all pages of the device, so that everything there is evicted.
  void EvictAll() {
    for (const KvPool pool : {KvPool::kFull, KvPool::kSliding}) {
      std::vector<int32_t> taken;
      while (device_->pages().available(pool) > 0) taken.push_back(device_->pages().Take(pool));
      for (const int32_t page : taken) device_->pages().Release(pool, page);
    }
  }
  // Writes all that is idle to disk.
  void Flush() {
    do {
      tiers_->WriteBehind(INT64_MAX);
    } while (RunDisk());
  }
  bool RunDisk() {
    bool any = false;
    while (disk_->RunOnce()) any = true;
    tiers_->TakeCompleted();
    return any;
  }

  // Holds what Find gives, checks each byte of it, and lets go.
  TierTokens Use(absl::Span<const PageKey> keys) {
    const int pages = tiers_->Find(keys).pages;
    Held held;
    tiers_->Hold(keys, pages, &held.full, &held.sliding);
    const TierTokens tokens = tiers_->Fill(keys, pages, &held.full, &held.sliding);
    EXPECT_EQ(tokens.sum(), pages * kPageTokens);
    std::vector<uint8_t> contents(device_->page_bytes(KvPool::kFull));
    for (int i = 0; i < pages; ++i) {
      for (const KvPool pool : {KvPool::kFull, KvPool::kSliding}) {
        const int32_t page = (pool == KvPool::kFull ? held.full : held.sliding)[i];
        const bool below_window =
            pool == KvPool::kSliding && i < pages - device_->pages().WindowPages(pages);
        EXPECT_EQ(page == PrefixCache::kNone, below_window) << i;
        if (page == PrefixCache::kNone) continue;
        device_->CopyPageToHostBlocking(pool, page, contents.data());
        EXPECT_EQ(contents, ContentsOf(pool, keys[i])) << i;
      }
    }
    Release(keys.subspan(0, pages), held);
    CheckNothingHeld();
    return tokens;
  }
  void CheckNothingHeld() {
    device_->pages().CheckInvariants();
    if (host_ != nullptr) host_->slots().CheckInvariants();
    for (const KvPool pool : {KvPool::kFull, KvPool::kSliding}) {
      EXPECT_EQ(device_->pages().in_use_count(pool), 0);
      if (host_ != nullptr) {
        EXPECT_EQ(host_->slots().in_use_count(pool), 0);
      }
    }
  }

  std::string folder_;
  absl::Time now_ = absl::UnixEpoch();
  absl::Duration tick_ = absl::ZeroDuration();  // by which the clock moves at each look
  std::unique_ptr<Device> processor_;
  std::unique_ptr<KvCache> device_;
  std::unique_ptr<HostTier> host_;
  std::unique_ptr<DiskTier> disk_;
  absl::flat_hash_set<PoolKey> absent_;  // at other workers
  testing::FakePeers peers_{
      [this](const PoolKey& page) { return absent_.contains(page) ? "" : TextOf(page); }};
  std::unique_ptr<TieredCache> tiers_;
};

// Given no other tiers, expect what the device alone gives.
TEST_F(TieredCacheTest, WorksWithTheDeviceAlone) {
  Start(0, false);
  const std::vector<PageKey> keys = Chain(1, 5);
  ComputeAndRelease(keys);
  EXPECT_EQ(Use(keys).device, 5 * kPageTokens);
  EvictAll();
  EXPECT_EQ(Use(keys).sum(), 0);
  EXPECT_EQ(tiers_->Fetch(keys), 0);
  EXPECT_FALSE(tiers_->WriteBehind(INT64_MAX));
}

// Given a prefix that was evicted, expect it back from host memory byte for byte, and then on the
// device; and only what fell off the device to be copied.
TEST_F(TieredCacheTest, BringsEvictedPagesBackFromHostMemory) {
  Start(16, false);
  const std::vector<PageKey> keys = Chain(1, 6);
  ComputeAndRelease(keys);
  // Two full pages go, the deepest.
  Held other;
  Compute(Chain(2, 4), other);
  const TieredCache::Match match = tiers_->Find(keys);
  EXPECT_EQ(match.pages, 6);
  Release(Chain(2, 4), other);
  const TierTokens tokens = Use(keys);
  EXPECT_EQ(tokens.host, 2 * kPageTokens);
  EXPECT_EQ(tokens.device, 4 * kPageTokens);
  EXPECT_EQ(Use(keys).device, 6 * kPageTokens);
  EvictAll();
  EXPECT_EQ(Use(keys).host, 6 * kPageTokens);
}

// Given pages that slid out of a window and are part of no resume point, expect them not copied.
TEST_F(TieredCacheTest, KeepsOnlyWindowsOfResumePoints) {
  Start(16, false);
  const std::vector<PageKey> keys = Chain(1, 8);
  Held held;
  Compute(keys, held);
  Release(keys, held);
  EvictAll();
  int sliding = 0;
  for (const PageKey& key : keys) {
    sliding += host_->slots().Lookup(KvPool::kSliding, key) != PrefixCache::kNone ? 1 : 0;
  }
  EXPECT_EQ(sliding, kWindowTokens / kPageTokens + PrefixCache::kResumeSlackPages);
  EXPECT_EQ(Use(keys).host, 8 * kPageTokens);
}

// Given two prefixes held in one step that both need pages of host memory, expect both whole: what
// one takes evicts nothing of the other, on the device or in host memory.
TEST_F(TieredCacheTest, HoldsAllBeforeItCopies) {
  Start(8, false);
  const std::vector<PageKey> a = Chain(1, 3), b = Chain(2, 3);
  ComputeAndRelease(a);
  ComputeAndRelease(b);
  EvictAll();
  // Something else on the device wants into host memory when it is evicted.
  ComputeAndRelease(Chain(3, 8));
  Held held_a, held_b;
  ASSERT_EQ(tiers_->Find(a).pages, 3);
  tiers_->Hold(a, 3, &held_a.full, &held_a.sliding);
  ASSERT_EQ(tiers_->Find(b).pages, 3);
  tiers_->Hold(b, 3, &held_b.full, &held_b.sliding);
  EXPECT_EQ(tiers_->Fill(a, 3, &held_a.full, &held_a.sliding).host, 3 * kPageTokens);
  EXPECT_EQ(tiers_->Fill(b, 3, &held_b.full, &held_b.sliding).host, 3 * kPageTokens);
  Release(a, held_a);
  Release(b, held_b);
  EXPECT_EQ(Use(a).device, 3 * kPageTokens);
  EXPECT_EQ(Use(b).device, 3 * kPageTokens);
}

// Given pages written behind, expect them from disk after a restart, fetched once for two requests
// that ask, and from host memory the next time.
TEST_F(TieredCacheTest, FindsItsPagesAfterARestart) {
  Start(16, true);
  const std::vector<PageKey> keys = Chain(1, 6);
  ComputeAndRelease(keys);
  Flush();
  Start(16, true);
  EXPECT_EQ(tiers_->Find(keys).pages, 0);
  const uint64_t ticket = tiers_->Fetch(keys);
  EXPECT_GT(ticket, 0);
  const uint64_t second = tiers_->Fetch(keys);
  EXPECT_FALSE(tiers_->FetchDone(ticket));
  EXPECT_FALSE(tiers_->FetchDone(second));
  RunDisk();
  EXPECT_TRUE(tiers_->FetchDone(ticket));
  EXPECT_TRUE(tiers_->FetchDone(second));
  EXPECT_EQ(disk_->stats().reads, 6 + 2);
  EXPECT_EQ(Use(keys).disk, 6 * kPageTokens);
  EvictAll();
  EXPECT_EQ(Use(keys).host, 6 * kPageTokens);
  EXPECT_EQ(tiers_->Fetch(keys), 0);
}

// Given a page that is broken on disk, expect the prefix up to there, and nothing held for the
// rest.
TEST_F(TieredCacheTest, LosesNoMoreThanTheBrokenPage) {
  Start(16, true);
  const std::vector<PageKey> keys = Chain(1, 6);
  ComputeAndRelease(keys);
  Flush();
  std::filesystem::resize_file(disk_->PathOf({KvPool::kFull, keys[4]}), 100);
  Start(16, true);
  EXPECT_GT(tiers_->Fetch(keys), 0);
  RunDisk();
  EXPECT_EQ(disk_->stats().fault(DiskFault::kTorn), 1);
  // The window of four pages was not asked for, as six were to come.
  EXPECT_EQ(Use(keys).sum(), 0);
  EXPECT_GT(tiers_->Fetch(keys), 0);
  RunDisk();
  EXPECT_EQ(Use(keys).disk, 4 * kPageTokens);
}

// Given host memory with room for less than the prefix on disk, expect as much as fits.
TEST_F(TieredCacheTest, FetchesWhatHostMemoryHolds) {
  Start(16, true);
  const std::vector<PageKey> keys = Chain(1, 6);
  ComputeAndRelease(keys);
  Flush();
  Start(4, true);
  EXPECT_GT(tiers_->Fetch(keys), 0);
  RunDisk();
  EXPECT_EQ(Use(keys).disk, 4 * kPageTokens);
}

// Given a disk that was measured to be slower than computing, expect no fetch but now and then one
// to measure again; and the same prefix fetched when computing is slower still.
TEST_F(TieredCacheTest, ComputesWhereTheDiskIsSlower) {
  Start(16, true);
  const std::vector<PageKey> first = Chain(1, 2), second = Chain(2, 2);
  ComputeAndRelease(first);
  ComputeAndRelease(second);
  Flush();
  Start(16, true);
  tick_ = absl::Seconds(1);
  tiers_->AddPrefill(1000, absl::Seconds(1));
  // Nothing was measured: this read measures, at 8 KiB a second.
  EXPECT_GT(tiers_->Fetch(first), 0);
  RunDisk();
  EXPECT_EQ(tiers_->Find(first).pages, 2);
  int fetches = 0;
  for (int i = 0; i < 200; ++i) {
    fetches += tiers_->Fetch(second) > 0 ? 1 : 0;
    if (fetches > 0) break;
  }
  EXPECT_EQ(fetches, 1);
  EXPECT_EQ(tiers_->stats().refused_moves, 64);
  Start(16, true);
  tiers_->AddPrefill(1, absl::Seconds(100));
  EXPECT_GT(tiers_->Fetch(first), 0);
  RunDisk();
  EXPECT_GT(tiers_->Fetch(second), 0);
  RunDisk();
}

// Given a device that is slow to copy to, measured, expect computing instead.
TEST_F(TieredCacheTest, ComputesWhereCopyingIsSlower) {
  Start(16, false);
  tick_ = absl::Seconds(1);
  const std::vector<PageKey> keys = Chain(1, 4);
  ComputeAndRelease(keys);
  EvictAll();
  EXPECT_EQ(tiers_->Find(keys).pages, 4);
  tiers_->AddPrefill(1'000'000, absl::Seconds(1));
  EXPECT_EQ(tiers_->Find(keys).pages, 0);
}

// Given a prefix at another worker, of which this one has the beginning, expect the rest to be
// pulled byte for byte with the window before its end, and to be here from then on.
TEST_F(TieredCacheTest, PullsWhatItLacks) {
  Start(16, false);
  const std::vector<PageKey> keys = Chain(1, 6);
  ComputeAndRelease(absl::MakeSpan(keys).subspan(0, 3));
  const uint64_t ticket = tiers_->Fetch(keys, {"peer", 6});
  EXPECT_FALSE(tiers_->FetchDone(ticket));
  EXPECT_EQ(peers_.last_address, "peer");
  EXPECT_EQ(peers_.last_timeout, kPullTimeoutMax);
  EXPECT_EQ(peers_.asked, 3 + 2);
  // Another that knows of no peer waits for the same pages.
  const uint64_t second = tiers_->Fetch(keys);
  EXPECT_FALSE(tiers_->FetchDone(second));
  RunPeers();
  EXPECT_TRUE(tiers_->FetchDone(ticket));
  EXPECT_TRUE(tiers_->FetchDone(second));
  EXPECT_EQ(peers_.asked, 3 + 2);
  const TierTokens tokens = Use(keys);
  EXPECT_EQ(tokens.device, 3 * kPageTokens);
  EXPECT_EQ(tokens.peer, 3 * kPageTokens);
  EXPECT_EQ(Use(keys).device, 6 * kPageTokens);
  EvictAll();
  EXPECT_EQ(Use(keys).host, 6 * kPageTokens);
  EXPECT_EQ(tiers_->Fetch(keys, {"peer", 6}), 0);
}

// Given a page that the other worker has no longer, expect what can be used without it, and
// nothing held; the same where nothing comes at all.
TEST_F(TieredCacheTest, DoesWithoutWhatDoesNotCome) {
  Start(16, false);
  const std::vector<PageKey> keys = Chain(1, 6);
  ComputeAndRelease(absl::MakeSpan(keys).subspan(0, 3));
  absent_.insert({KvPool::kFull, keys[4]});
  EXPECT_GT(tiers_->Fetch(keys, {"peer", 6}), 0);
  RunPeers();
  EXPECT_EQ(Use(keys).sum(), 3 * kPageTokens);
  const std::vector<PageKey> other = Chain(2, 6);
  const uint64_t ticket = tiers_->Fetch(other, {"peer", 6});
  RunPeers(/*well=*/false);
  EXPECT_TRUE(tiers_->FetchDone(ticket));
  EXPECT_EQ(Use(other).sum(), 0);
}

// Given a pull that two wait for, expect it to be cancelled when both are gone, and not before.
TEST_F(TieredCacheTest, CancelsWhatNobodyWaitsFor) {
  Start(16, false);
  const std::vector<PageKey> keys = Chain(1, 6);
  const uint64_t first = tiers_->Fetch(keys, {"peer", 6});
  const uint64_t second = tiers_->Fetch(keys, {"peer", 6});
  tiers_->Forget(first);
  EXPECT_EQ(peers_.cancelled, 0);
  EXPECT_FALSE(tiers_->FetchDone(second));
  tiers_->Forget(second);
  EXPECT_EQ(peers_.cancelled, 6 + 2);
  tiers_->TakeCompleted();
  EXPECT_EQ(Use(keys).sum(), 0);
  tiers_->Forget(second);
  tiers_->Forget(0);
}

// Given pulls that were measured to be slower than computing, expect none but now and then one; and
// a bound on how long one may take that follows from what computing takes.
TEST_F(TieredCacheTest, ComputesWherePullingIsSlower) {
  Start(16, false);
  const std::vector<PageKey> keys = Chain(1, 4);
  tiers_->AddPrefill(1000, absl::Seconds(1));
  peers_.rate = 1e5;  // Six pages of 8 KiB, against 256 tokens: 0.5 s against 0.26.
  for (int i = 0; i < 63; ++i) EXPECT_EQ(tiers_->Fetch(keys, {"peer", 4}), 0);
  EXPECT_EQ(tiers_->stats().refused_moves, 63);
  peers_.rate = 1e6;
  EXPECT_GT(tiers_->Fetch(keys, {"peer", 4}), 0);
  EXPECT_EQ(peers_.last_timeout, absl::Milliseconds(512));
  RunPeers();
  EXPECT_EQ(Use(keys).peer, 4 * kPageTokens);
}

// Given pages on the device, in host memory, on disk and nowhere, expect copies of all but the last
// for another worker, once the disk's are read.
TEST_F(TieredCacheTest, CopiesOutOfEachTier) {
  Start(16, true);
  const std::vector<PageKey> keys = Chain(1, 3);
  ComputeAndRelease(keys);
  const PoolKey page = {KvPool::kFull, keys[1]};
  EXPECT_EQ(tiers_->CopyOutBlocking(page), TextOf(page));
  Flush();
  EvictAll();
  EXPECT_EQ(device_->pages().Lookup(page.first, page.second), PrefixCache::kNone);
  EXPECT_EQ(tiers_->CopyOutBlocking(page), TextOf(page));
  Start(16, true);
  const PoolKey sliding = {KvPool::kSliding, keys[2]}, nowhere = {KvPool::kFull, Chain(2, 1)[0]};
  const uint64_t ticket = tiers_->FetchPages({page, sliding, nowhere});
  EXPECT_FALSE(tiers_->FetchDone(ticket));
  EXPECT_EQ(tiers_->CopyOutBlocking(page), "");
  RunDisk();
  EXPECT_TRUE(tiers_->FetchDone(ticket));
  EXPECT_EQ(tiers_->CopyOutBlocking(page), TextOf(page));
  EXPECT_EQ(tiers_->CopyOutBlocking(sliding), TextOf(sliding));
  EXPECT_EQ(tiers_->CopyOutBlocking(nowhere), "");
}

// Given a disk too slow to keep up and host memory that turns over, expect writes to be dropped and
// counted, and nothing to be held for ever.
TEST_F(TieredCacheTest, DropsWritesItHasNoTimeFor) {
  Start(2, true);
  for (int i = 0; i < 6; ++i) ComputeAndRelease(Chain(i, 8));
  Flush();
  EXPECT_GT(tiers_->stats().dropped_writes, 0);
  EXPECT_GT(disk_->stats().writes, 0);
  CheckNothingHeld();
}

// Given a stop, expect all that is idle to be on disk, by the disk's own thread too.
TEST_F(TieredCacheTest, WritesAllAtAStop) {
  for (const bool threaded : {false, true}) {
    Start(16, true);
    if (threaded) tiers_->Start([] {});
    const std::vector<PageKey> keys = Chain(threaded, 8);
    ComputeAndRelease(keys);
    tiers_->BlockingStop(absl::Minutes(1));
    EXPECT_EQ(tiers_->stats().dropped_writes, 0);
    CheckNothingHeld();
    Start(16, true);
    EXPECT_GT(tiers_->Fetch(keys), 0);
    RunDisk();
    EXPECT_EQ(Use(keys).disk, 8 * kPageTokens);
  }
}

// Given no time at a stop, expect the rest to be given up, and nothing to be held.
TEST_F(TieredCacheTest, StopsWithinItsTime) {
  Start(16, true);
  ComputeAndRelease(Chain(1, 8));
  tiers_->BlockingStop(absl::ZeroDuration());
  EXPECT_GT(tiers_->stats().dropped_writes, 0);
  CheckNothingHeld();
}

}  // namespace
}  // namespace facet
