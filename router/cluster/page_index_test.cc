#include "router/cluster/page_index.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <random>
#include <set>
#include <string>
#include <tuple>

#include "absl/strings/str_cat.h"

namespace facet {

bool operator==(const PrefixHolder& a, const PrefixHolder& b) {
  return std::tie(a.worker, a.usable_pages, a.full_pages, a.device_pages) ==
         std::tie(b.worker, b.usable_pages, b.full_pages, b.device_pages);
}
std::ostream& operator<<(std::ostream& out, const PrefixHolder& holder) {
  return out << "worker " << holder.worker << ": " << holder.usable_pages << " usable, "
             << holder.full_pages << " full, " << holder.device_pages << " on the device";
}

namespace {

constexpr int kWindow = 4;

// A prompt's keys: those of `branch` from page `fork` on, before that those of branch 0.
std::vector<PageKey> Chain(int branch, int fork, int pages) {
  std::vector<PageKey> keys = {RootPageKey("test")};
  for (int i = 0; i < pages; ++i) {
    keys.push_back(NextPageKey(keys.back(), {i < fork ? 0 : branch, i}));
  }
  keys.erase(keys.begin());
  return keys;
}

// Events for pages [begin, end) of a chain.
std::vector<PageEvent> Events(const std::vector<PageKey>& keys, int begin, int end, bool sliding,
                              PageTier tier = PageTier::kDevice, bool stored = true) {
  std::vector<PageEvent> events;
  for (int i = begin; i < end; ++i) events.push_back({keys[i], sliding, tier, stored});
  return events;
}

std::vector<PrefixHolder> Lookup(const PageIndex& index, const std::vector<PageKey>& keys) {
  std::vector<PrefixHolder> holders;
  index.Lookup(keys, holders);
  return holders;
}

// Given nothing stored, or no keys, expect no holder.
TEST(PageIndexTest, Empty) {
  PageIndex index({.pages_max = 100, .window_pages = kWindow});
  EXPECT_TRUE(Lookup(index, Chain(0, 0, 9)).empty());
  EXPECT_TRUE(Lookup(index, {}).empty());
}

// Given all full pages and the last window, expect all pages usable; with a page of the window
// gone, none, since no other run is long enough.
TEST(PageIndexTest, LastWindow) {
  PageIndex index({.pages_max = 100, .window_pages = kWindow});
  const std::vector<PageKey> keys = Chain(0, 0, 20);
  index.Apply(3, Events(keys, 0, 20, false));
  index.Apply(3, Events(keys, 16, 20, true));
  EXPECT_EQ(Lookup(index, keys), std::vector<PrefixHolder>({{3, 20, 20, 20}}));
  index.Apply(3, Events(keys, 17, 18, true, PageTier::kDevice, false));
  EXPECT_EQ(Lookup(index, keys), std::vector<PrefixHolder>({{3, 0, 20, 20}}));
}

// Given a window in the middle, expect what is before its end usable, for prompts that end or fork
// after it.
TEST(PageIndexTest, WindowInTheMiddle) {
  PageIndex index({.pages_max = 100, .window_pages = kWindow});
  const std::vector<PageKey> keys = Chain(0, 0, 20);
  index.Apply(1, Events(keys, 0, 20, false));
  index.Apply(1, Events(keys, 5, 11, true));
  EXPECT_EQ(Lookup(index, keys), std::vector<PrefixHolder>({{1, 11, 20, 20}}));
  EXPECT_EQ(Lookup(index, Chain(7, 15, 30)), std::vector<PrefixHolder>({{1, 11, 15, 15}}));
  EXPECT_EQ(Lookup(index, Chain(7, 10, 30)), std::vector<PrefixHolder>({{1, 10, 10, 10}}));
  EXPECT_EQ(Lookup(index, Chain(7, 8, 30)), std::vector<PrefixHolder>({{1, 0, 8, 8}}));
}

// Given a prompt shorter than the window, expect it usable with all its sliding pages.
TEST(PageIndexTest, ShorterThanTheWindow) {
  PageIndex index({.pages_max = 100, .window_pages = kWindow});
  const std::vector<PageKey> keys = Chain(0, 0, 3);
  index.Apply(1, Events(keys, 0, 3, false));
  index.Apply(1, Events(keys, 0, 2, true));
  EXPECT_EQ(Lookup(index, keys), std::vector<PrefixHolder>({{1, 2, 3, 3}}));
}

// Given pages on host and disk alone, expect them usable, but not on the device; in two tiers, gone
// only when both are.
TEST(PageIndexTest, Tiers) {
  PageIndex index({.pages_max = 100, .window_pages = kWindow});
  const std::vector<PageKey> keys = Chain(0, 0, 10);
  index.Apply(1, Events(keys, 0, 10, false));
  index.Apply(1, Events(keys, 6, 10, true, PageTier::kHost));
  index.Apply(1, Events(keys, 5, 10, false, PageTier::kDisk));
  index.Apply(1, Events(keys, 5, 10, false, PageTier::kDevice, false));
  EXPECT_EQ(Lookup(index, keys), std::vector<PrefixHolder>({{1, 10, 10, 5}}));
  index.Apply(1, Events(keys, 5, 10, false, PageTier::kDisk, false));
  EXPECT_EQ(Lookup(index, keys), std::vector<PrefixHolder>({{1, 0, 5, 5}}));
}

// Given more pages than may be kept, expect the rest refused and counted; given room again, kept.
TEST(PageIndexTest, BoundedPages) {
  PageIndex index({.pages_max = 10, .window_pages = kWindow});
  const std::vector<PageKey> keys = Chain(0, 0, 15);
  index.Apply(1, Events(keys, 0, 15, false));
  EXPECT_EQ(index.page_count(), 10);
  EXPECT_EQ(index.refused_count(), 5);
  EXPECT_EQ(Lookup(index, keys)[0].full_pages, 10);
  index.Apply(1, Events(keys, 0, 15, false, PageTier::kDevice, false));
  EXPECT_EQ(index.page_count(), 0);
  index.Apply(2, Events(keys, 0, 10, false));
  EXPECT_EQ(Lookup(index, keys)[0].worker, 2);
  index.CheckInvariants();
}

// Given more holders than there is room for, expect the rest refused and counted.
TEST(PageIndexTest, BoundedHolders) {
  PageIndex index({.pages_max = 2, .window_pages = kWindow});
  const std::vector<PageKey> keys = Chain(0, 0, 1);
  for (int worker = 0; worker < 20; ++worker) index.Apply(worker, Events(keys, 0, 1, false));
  EXPECT_GT(index.refused_count(), 0);
  EXPECT_EQ(static_cast<int64_t>(Lookup(index, keys).size()), 20 - index.refused_count());
  index.CheckInvariants();
}

// What a worker holds, kept plainly: sets of keys by pool and tier.
struct PlainWorker {
  std::set<PageKey> pages[2][3];
  bool Has(bool sliding, const PageKey& key) const {
    return std::any_of(std::begin(pages[sliding]), std::end(pages[sliding]),
                       [&](const std::set<PageKey>& tier) { return tier.count(key) > 0; });
  }
};

PrefixHolder PlainLookup(const PlainWorker& worker, int number, const std::vector<PageKey>& keys) {
  PrefixHolder found{number, 0, 0, 0};
  int run = 0;
  for (const PageKey& key : keys) {
    if (!worker.Has(false, key)) break;
    ++found.full_pages;
    found.device_pages += static_cast<int>(worker.pages[0][0].count(key));
    run = worker.Has(true, key) ? run + 1 : 0;
    if (run >= kWindow || run == found.full_pages) found.usable_pages = found.full_pages;
  }
  return found;
}

// Given random events that keep each worker's full pages a beginning of every chain, expect what a
// plain search page by page finds, for every worker.
TEST(PageIndexTest, AgreesWithPlainSearch) {
  for (int seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    std::mt19937 random(seed);
    const auto draw = [&](int count) { return static_cast<int>(random() % count); };
    const int worker_count = seed % 2 == 0 ? 3 : 40;
    PageIndex index({.pages_max = 2000, .window_pages = kWindow});
    std::vector<std::vector<PageKey>> chains;
    for (int branch = 0; branch < 6; ++branch) chains.push_back(Chain(branch, 10 * branch, 60));
    std::map<int, PlainWorker> workers;
    const auto apply = [&](int number, const PageEvent& event) {
      auto& pages = workers[number].pages[event.sliding][static_cast<int>(event.tier)];
      if (event.stored) {
        pages.insert(event.key);
      } else {
        pages.erase(event.key);
      }
      index.Apply(number, {&event, 1});
    };
    for (int round = 0; round < 300; ++round) {
      const int number = 7 * draw(worker_count);
      const std::vector<PageKey>& chain = chains[draw(static_cast<int>(chains.size()))];
      const auto tier = static_cast<PageTier>(draw(3));
      const int length = 1 + draw(static_cast<int>(chain.size()));
      const int kind = draw(20);
      if (kind < 8) {
        // A prompt: all its full pages; the sliding ones of its end, or of anywhere.
        for (int i = 0; i < length; ++i) apply(number, {chain[i], false, tier, true});
        const int begin = kind < 5 ? std::max(0, length - kWindow) : draw(length);
        for (int i = begin; i < length; ++i) apply(number, {chain[i], true, tier, true});
      } else if (kind < 13) {
        // Evictions of full pages, the deepest first, of all chains that pass here.
        for (const std::vector<PageKey>& other : chains) {
          const int shared = static_cast<int>(
              std::mismatch(chain.begin(), chain.end(), other.begin()).first - chain.begin());
          if (shared < length) continue;
          for (int i = static_cast<int>(other.size()); --i >= length - 1;) {
            for (const PageTier each : {PageTier::kDevice, PageTier::kHost, PageTier::kDisk}) {
              apply(number, {other[i], false, each, false});
            }
          }
        }
      } else if (kind < 19) {
        for (int i = length; --i >= 0 && draw(6) > 0;) {
          apply(number, {chain[i], true, tier, false});
        }
      } else {
        workers.erase(number);
        index.RemoveWorker(number);
      }
      if (round % 10 != 0) continue;
      for (const std::vector<PageKey>& keys : chains) {
        std::vector<PrefixHolder> expected, found = Lookup(index, keys);
        for (const auto& [other, worker] : workers) {
          const PrefixHolder holder = PlainLookup(worker, other, keys);
          if (holder.full_pages > 0) expected.push_back(holder);
        }
        EXPECT_TRUE(std::is_sorted(found.begin(), found.end(), [](const auto& a, const auto& b) {
          return a.full_pages > b.full_pages;
        }));
        std::sort(found.begin(), found.end(),
                  [](const auto& a, const auto& b) { return a.worker < b.worker; });
        // A worker whose tiers change in the middle, back and forth, is not a beginning tier by
        // tier; what is on the device is then an estimate.
        for (auto* list : {&expected, &found}) {
          for (PrefixHolder& holder : *list) holder.device_pages = 0;
        }
        ASSERT_EQ(found, expected);
      }
      index.CheckInvariants();
    }
  }
}

// Given events in an order that no worker sends (a full page without those before it), expect no
// crash and nothing beyond the prompt.
TEST(PageIndexTest, BearsGaps) {
  std::mt19937 random(1);
  const std::vector<PageKey> keys = Chain(0, 0, 50);
  for (int round = 0; round < 200; ++round) {
    PageIndex index({.pages_max = 100, .window_pages = kWindow});
    for (int i = 0; i < 100; ++i) {
      const PageEvent event{keys[random() % 50], random() % 2 == 0, PageTier::kDevice,
                            random() % 3 > 0};
      index.Apply(static_cast<int>(random() % 5), {&event, 1});
    }
    index.CheckInvariants();
    for (const PrefixHolder& holder : Lookup(index, keys)) {
      EXPECT_LE(holder.usable_pages, holder.full_pages);
      EXPECT_LE(holder.full_pages, 50);
    }
  }
}

}  // namespace
}  // namespace facet
