#include "worker/prefix_cache.h"

#include <map>
#include <numeric>
#include <random>
#include <set>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/device.h"

namespace facet {
namespace {

using ::testing::ElementsAre;

// The keys of a chain whose page i holds only the number `tokens[i]`.
std::vector<PageKey> Chain(const std::vector<int32_t>& tokens) {
  std::vector<PageKey> keys;
  PageKey key = RootPageKey("");
  for (const int32_t token : tokens) {
    key = NextPageKey(key, std::vector<int32_t>(kPageTokens, token));
    keys.push_back(key);
  }
  return keys;
}

// What a sequence holds.
struct Held {
  std::vector<int32_t> full, sliding;
};

// Computes and publishes pages [held, keys.size()).
void Fill(PrefixCache& cache, const std::vector<PageKey>& keys, Held& held) {
  for (size_t i = held.full.size(); i < keys.size(); ++i) {
    const int depth = static_cast<int>(i);
    held.full.push_back(cache.Publish(KvPool::kFull, cache.Take(KvPool::kFull), keys[i], depth));
    held.sliding.push_back(
        cache.Publish(KvPool::kSliding, cache.Take(KvPool::kSliding), keys[i], depth));
  }
}

void ReleaseAll(PrefixCache& cache, Held& held) {
  for (const int32_t page : held.full) cache.Release(KvPool::kFull, page);
  for (const int32_t page : held.sliding) {
    if (page != PrefixCache::kNone) cache.Release(KvPool::kSliding, page);
  }
  held = {};
}

// Given a prompt that ran before, expect its pages found and the same ones held.
TEST(PrefixCacheTest, FindsAPublishedPrefix) {
  PrefixCache cache(8, 8, 128);
  Held first, second;
  const std::vector<PageKey> keys = Chain({1, 2, 3});
  Fill(cache, keys, first);
  const Held kept = first;
  ReleaseAll(cache, first);
  cache.CheckInvariants();
  const PrefixCache::Match match = cache.Find(Chain({1, 2, 3, 4}));
  EXPECT_EQ(match.pages, 3);
  EXPECT_EQ(match.full_evictable, 3);
  EXPECT_EQ(match.sliding_evictable, 2);
  cache.Hold(keys, 3, &second.full, &second.sliding);
  EXPECT_EQ(second.full, kept.full);
  EXPECT_THAT(second.sliding, ElementsAre(PrefixCache::kNone, kept.sliding[1], kept.sliding[2]));
  EXPECT_EQ(cache.Find(Chain({1, 9})).pages, 1);
  EXPECT_EQ(cache.Find(Chain({9, 2, 3})).pages, 0);
  cache.CheckInvariants();
  ReleaseAll(cache, second);
}

// Given sliding pages of the window's end that are gone, expect a shorter usable prefix.
TEST(PrefixCacheTest, NeedsTheWindowsSlidingPages) {
  PrefixCache cache(8, 4, 128);
  Held first, other;
  const std::vector<PageKey> keys = Chain({1, 2, 3, 4});
  Fill(cache, keys, first);
  ReleaseAll(cache, first);
  // One sliding page is taken for something else: the deepest of the oldest goes.
  const int32_t taken = cache.Take(KvPool::kSliding);
  EXPECT_EQ(cache.Find(keys).pages, 3);
  cache.Release(KvPool::kSliding, taken);
  cache.CheckInvariants();
}

// Given two sequences that computed the same page, expect one to be kept and both to hold it.
TEST(PrefixCacheTest, PublishingTwiceSharesOnePage) {
  PrefixCache cache(4, 4, 128);
  const PageKey key = Chain({1})[0];
  const int32_t a = cache.Take(KvPool::kFull), b = cache.Take(KvPool::kFull);
  EXPECT_EQ(cache.Publish(KvPool::kFull, a, key, 0), a);
  EXPECT_EQ(cache.Publish(KvPool::kFull, b, key, 0), a);
  EXPECT_EQ(cache.in_use_count(KvPool::kFull), 1);
  cache.Release(KvPool::kFull, a);
  EXPECT_EQ(cache.evictable_count(KvPool::kFull), 0);
  cache.Release(KvPool::kFull, a);
  EXPECT_EQ(cache.evictable_count(KvPool::kFull), 1);
  cache.CheckInvariants();
}

// Given two prefixes of which one was used later, expect the other evicted first, deepest first.
TEST(PrefixCacheTest, EvictsTheLeastRecentlyUsedDeepestFirst) {
  PrefixCache cache(6, 6, 64);
  Held old, fresh;
  Fill(cache, Chain({1, 2, 3}), old);
  Fill(cache, Chain({7, 8, 9}), fresh);
  ReleaseAll(cache, old);
  ReleaseAll(cache, fresh);
  std::vector<int32_t> full, sliding;
  cache.Hold(Chain({1, 2, 3}), 3, &full, &sliding);
  Held again = {full, sliding};
  ReleaseAll(cache, again);
  cache.Take(KvPool::kFull);
  EXPECT_EQ(cache.Find(Chain({7, 8, 9})).pages, 2);
  cache.Take(KvPool::kFull);
  cache.Take(KvPool::kFull);
  EXPECT_EQ(cache.Find(Chain({7, 8, 9})).pages, 0);
  EXPECT_EQ(cache.Find(Chain({1, 2, 3})).pages, 3);
  cache.Take(KvPool::kFull);
  EXPECT_EQ(cache.Find(Chain({1, 2, 3})).pages, 2);
  cache.CheckInvariants();
}

// Given a beginning that two requests shared, and others after it that nobody asks for again,
// expect it to outlast them for as long as the pool takes to turn over twice, and no longer.
TEST(PrefixCacheTest, KeepsWhatWasSharedForTwoTurnovers) {
  PrefixCache cache(8, 8, 64);
  Held first;
  Fill(cache, Chain({1, 2}), first);
  ReleaseAll(cache, first);
  Held second;
  cache.Hold(Chain({1, 2}), 2, &second.full, &second.sliding);
  ReleaseAll(cache, second);
  const auto ask_once = [&](int32_t token) {
    Held once;
    Fill(cache, Chain({token, token + 1, token + 2}), once);
    ReleaseAll(cache, once);
  };
  for (const int32_t token : {10, 20, 30, 40, 50}) ask_once(token);
  EXPECT_EQ(cache.Find(Chain({1, 2})).pages, 2);
  for (const int32_t token : {60, 70, 80, 90}) ask_once(token);
  EXPECT_EQ(cache.Find(Chain({1, 2})).pages, 0);
  cache.CheckInvariants();
}

// Given a long sequence whose prompt ended before older pages slid out of its window, expect the
// window at the prompt's end to outlast them, which the least recently used rule alone would take
// first; and the same of a window from which a request went on.
TEST(PrefixCacheTest, KeepsTheWindowsOfResumePoints) {
  for (const bool marked : {false, true}) {
    PrefixCache cache(32, 16, 128);
    Held held;
    std::vector<int32_t> tokens(16);
    std::iota(tokens.begin(), tokens.end(), 0);
    const std::vector<PageKey> keys = Chain(tokens);
    const auto prompt = absl::MakeSpan(keys).subspan(0, 6);
    Fill(cache, keys, held);
    if (marked) cache.MarkResumePoint(keys, 6);
    // Each page slides out by itself, the oldest first.
    for (const int32_t page : held.sliding) {
      cache.Release(KvPool::kSliding, page);
      cache.Take(KvPool::kFull);
    }
    cache.CheckInvariants();
    for (int i = 0; i < 9; ++i) cache.Take(KvPool::kSliding);
    // Marked: two pages of the window, and the four before them.
    EXPECT_EQ(cache.Find(prompt).pages, marked ? 6 : 0);
    EXPECT_EQ(cache.Lookup(KvPool::kSliding, keys[0]) != PrefixCache::kNone, marked);
    cache.CheckInvariants();
  }
  PrefixCache cache(16, 4, 64);
  Held first, second, other;
  const std::vector<PageKey> keys = Chain({1, 2}), others = Chain({7, 8});
  Fill(cache, keys, first);
  ReleaseAll(cache, first);
  cache.Hold(keys, 1, &second.full, &second.sliding);
  ReleaseAll(cache, second);
  Fill(cache, others, other);
  ReleaseAll(cache, other);
  for (int i = 0; i < 3; ++i) cache.Take(KvPool::kSliding);
  EXPECT_EQ(cache.Find(keys).pages, 1);
  EXPECT_EQ(cache.Find(others).pages, 0);
  cache.CheckInvariants();
}

// Writes down what it hears.
class Recorder final : public PrefixCache::Listener {
 public:
  void OnIdle(const PrefixCache::CachedPage& page) override { idle.push_back(page); }
  void OnEvict(const PrefixCache::CachedPage& page) override { evicted.push_back(page); }
  std::vector<PrefixCache::CachedPage> idle, evicted;
};

// Given pages that are let go of and evicted, expect the listener to hear of full pages and of
// those of resume points when they are idle, and of each that is evicted.
TEST(PrefixCacheTest, TellsOfIdleAndEvictedPages) {
  PrefixCache cache(2, 2, 64);
  Recorder recorder;
  cache.SetListener(&recorder);
  Held held;
  const std::vector<PageKey> keys = Chain({1, 2});
  Fill(cache, keys, held);
  ReleaseAll(cache, held);
  ASSERT_EQ(recorder.idle.size(), 2);
  EXPECT_EQ(recorder.idle[1].pool, KvPool::kFull);
  EXPECT_EQ(recorder.idle[1].key, keys[1]);
  EXPECT_EQ(recorder.idle[1].depth, 1);
  cache.MarkResumePoint(keys, 2);
  ASSERT_EQ(recorder.idle.size(), 4);
  EXPECT_TRUE(recorder.idle[3].resume_point);
  cache.Take(KvPool::kSliding);
  ASSERT_EQ(recorder.evicted.size(), 1);
  EXPECT_EQ(recorder.evicted[0].key, keys[1]);
  EXPECT_EQ(recorder.evicted[0].pool, KvPool::kSliding);
}

// Given pages that someone holds, expect them never evicted.
TEST(PrefixCacheDeathTest, NeverEvictsWhatIsHeld) {
  PrefixCache cache(2, 2, 64);
  Held held;
  Fill(cache, Chain({1, 2}), held);
  EXPECT_EQ(cache.available(KvPool::kFull), 0);
  EXPECT_DEATH(cache.Take(KvPool::kFull), "evictable");
}

TEST(PrefixCacheDeathTest, CatchesReleasingTwice) {
  PrefixCache cache(2, 2, 64);
  const int32_t page = cache.Take(KvPool::kFull);
  cache.Release(KvPool::kFull, page);
  EXPECT_DEATH(cache.Release(KvPool::kFull, page), "references");
}

// Given 20,000 random steps (seed 5) of sequences that come, grow and go, expect the invariants to
// hold, nothing to be in use at the end, and the observer to know of just the pages that are found.
TEST(PrefixCacheTest, KeepsItsInvariants) {
  std::mt19937 random(5);
  PrefixCache cache(24, 16, 128);
  std::set<PageKey> observed[2], all;
  cache.SetObserver([&](KvPool pool, const PageKey& key, bool stored) {
    auto& known = observed[static_cast<int>(pool)];
    EXPECT_EQ(known.count(key), stored ? 0u : 1u);
    if (stored) {
      known.insert(key);
      all.insert(key);
    } else {
      known.erase(key);
    }
  });
  std::map<int, std::pair<std::vector<int32_t>, Held>> running;
  for (int step = 0; step < 20000; ++step) {
    const int id = static_cast<int>(random() % 4);
    auto& [tokens, held] = running[id];
    if (tokens.empty()) {
      for (int i = 0; i < 5; ++i) tokens.push_back(static_cast<int32_t>(random() % 2));
      const std::vector<PageKey> keys = Chain(tokens);
      cache.Hold(keys, cache.Find(keys).pages, &held.full, &held.sliding);
    } else if (held.full.size() < tokens.size() && cache.available(KvPool::kFull) > 0 &&
               cache.available(KvPool::kSliding) > 0) {
      std::vector<PageKey> keys = Chain(tokens);
      keys.resize(held.full.size() + 1);
      Fill(cache, keys, held);
    } else {
      ReleaseAll(cache, held);
      tokens.clear();
    }
    if (step % 16 == 0) cache.CheckInvariants();
  }
  for (auto& [id, sequence] : running) ReleaseAll(cache, sequence.second);
  cache.CheckInvariants();
  EXPECT_EQ(cache.in_use_count(KvPool::kFull) + cache.in_use_count(KvPool::kSliding), 0);
  for (const KvPool pool : {KvPool::kFull, KvPool::kSliding}) {
    for (const PageKey& key : all) {
      EXPECT_EQ(observed[static_cast<int>(pool)].count(key) == 1,
                cache.Lookup(pool, key) != PrefixCache::kNone);
    }
  }
}

// Given pages of which some are held twice, expect only the others to be counted as freed by one.
TEST(PrefixCacheTest, CountsUnsharedPages) {
  PrefixCache cache(4, 4, 64);
  const int32_t own = cache.Take(KvPool::kFull), shared = cache.Take(KvPool::kFull);
  PageKey key = {1};
  cache.Publish(KvPool::kFull, shared, key, 0);
  const int32_t again = cache.Publish(KvPool::kFull, cache.Take(KvPool::kFull), key, 0);
  ASSERT_EQ(again, shared);
  EXPECT_EQ(cache.CountUnshared(KvPool::kFull, {own, PrefixCache::kNone, shared}), 1);
  cache.Release(KvPool::kFull, shared);
  EXPECT_EQ(cache.CountUnshared(KvPool::kFull, {own, shared}), 2);
  cache.CheckInvariants();
}

}  // namespace
}  // namespace facet
