// Speed and size of the page index. Run it with
//   bazel run --config=release //router:page_index_benchmark
// A million pages: 1,000 prompts of 1,000 pages (64,000 tokens), at 100 workers; every second
// prompt has two holders, and each holder has the sliding pages of the last window. Look-ups go to
// prompts in random order, so entries are not in the processor's caches. `p50`, `p99` are of single
// look-ups, the clock's own 20 to 30 ns included.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <random>
#include <vector>

#include "base/check.h"
#include "router/cluster/page_index.h"

namespace facet {
namespace {

constexpr int kPrompts = 1000, kPromptPages = 1000, kWorkers = 100, kWindowPages = 16;

using Keys = std::vector<PageKey>;

// Keys are parts of SHA-256: random bytes are as good.
Keys RandomKeys(std::mt19937_64& random, int count) {
  Keys keys(count);
  for (PageKey& key : keys) {
    const uint64_t halves[] = {random(), random()};
    std::memcpy(key.data(), halves, sizeof(halves));
  }
  return keys;
}

const std::vector<Keys>& Prompts() {
  static const std::vector<Keys> prompts = [] {
    std::mt19937_64 random(1);
    std::vector<Keys> made;
    for (int i = 0; i < kPrompts; ++i) made.push_back(RandomKeys(random, kPromptPages));
    return made;
  }();
  return prompts;
}

std::vector<PageEvent> EventsOf(const Keys& keys, bool stored) {
  std::vector<PageEvent> events;
  for (int i = 0; i < kPromptPages; ++i) {
    events.push_back({keys[i], false, PageTier::kDevice, stored});
    if (i >= kPromptPages - kWindowPages) {
      events.push_back({keys[i], true, PageTier::kDevice, stored});
    }
  }
  if (!stored) std::reverse(events.begin(), events.end());
  return events;
}

PageIndex Filled() {
  PageIndex index({.pages_max = kPrompts * kPromptPages, .window_pages = kWindowPages});
  for (int i = 0; i < kPrompts; ++i) {
    index.Apply(i % kWorkers, EventsOf(Prompts()[i], true));
    if (i % 2 == 0) index.Apply((i + 7) % kWorkers, EventsOf(Prompts()[i], true));
  }
  CHECK_EQ(index.refused_count(), 0);
  return index;
}

// A worker's whole snapshot goes and comes again: half of the operations remove, half store.
void BM_Apply(benchmark::State& state) {
  PageIndex index = Filled();
  std::vector<std::vector<PageEvent>> removals, stores;
  for (const Keys& keys : Prompts()) {
    removals.push_back(EventsOf(keys, false));
    stores.push_back(EventsOf(keys, true));
  }
  int64_t operations = 0;
  int prompt = 1;
  for (auto _ : state) {
    index.Apply(prompt % kWorkers, removals[prompt]);
    index.Apply(prompt % kWorkers, stores[prompt]);
    operations += static_cast<int64_t>(removals[prompt].size() + stores[prompt].size());
    prompt = (prompt + 389) % kPrompts;
  }
  state.SetItemsProcessed(operations);
}
BENCHMARK(BM_Apply);

// Restart: all snapshots into an empty index of 2.3 million pages.
void BM_Restart(benchmark::State& state) {
  constexpr int kPages = 2'300'000;
  std::mt19937_64 random(2);
  std::vector<PageEvent> events;
  for (const PageKey& key : RandomKeys(random, kPages)) events.push_back({key});
  for (auto _ : state) {
    PageIndex index({.pages_max = kPages, .window_pages = kWindowPages});
    for (int worker = 0; worker < kWorkers; ++worker) {
      index.Apply(worker, absl::MakeSpan(events).subspan(size_t{kPages / kWorkers} * worker,
                                                         kPages / kWorkers));
    }
    CHECK_EQ(index.page_count(), kPages);
  }
}
BENCHMARK(BM_Restart)->Unit(benchmark::kMillisecond);

void BM_RemoveWorker(benchmark::State& state) {
  PageIndex index = Filled();
  for (auto _ : state) index.RemoveWorker(kWorkers);
}
BENCHMARK(BM_RemoveWorker)->Unit(benchmark::kMillisecond);

// The first `known_pages` of a prompt are held, the rest by nobody.
void BM_Lookup(benchmark::State& state, int known_pages) {
  using Clock = std::chrono::steady_clock;
  const PageIndex index = Filled();
  std::mt19937_64 random(3);
  const Keys unknown = RandomKeys(random, kPromptPages);
  std::vector<Keys> asked = Prompts();
  for (Keys& keys : asked)
    std::copy(unknown.begin() + known_pages, unknown.end(), keys.begin() + known_pages);
  std::vector<PrefixHolder> holders;
  std::vector<double> nanoseconds;
  int prompt = 0;
  for (auto _ : state) {
    const auto begin = Clock::now();
    index.Lookup(asked[prompt], holders);
    nanoseconds.push_back(std::chrono::duration<double, std::nano>(Clock::now() - begin).count());
    CHECK_EQ(holders.empty(), known_pages == 0);
    prompt = (prompt + 389) % kPrompts;
  }
  std::sort(nanoseconds.begin(), nanoseconds.end());
  state.counters["p50_ns"] = nanoseconds[nanoseconds.size() / 2];
  state.counters["p99_ns"] = nanoseconds[nanoseconds.size() * 99 / 100];
  state.counters["bytes_per_page"] =
      static_cast<double>(index.memory_bytes()) / static_cast<double>(index.page_count());
}
BENCHMARK_CAPTURE(BM_Lookup, hit, kPromptPages);
BENCHMARK_CAPTURE(BM_Lookup, half_hit, kPromptPages / 2);
BENCHMARK_CAPTURE(BM_Lookup, miss, 0);

// A prompt of which all workers have the first 100 pages with their last window, and one has all.
void BM_LookupShared(benchmark::State& state) {
  PageIndex index = Filled();
  Keys keys = Prompts()[1];
  std::vector<PageEvent> events;
  for (int i = 0; i < 100; ++i) {
    events.push_back({keys[i], false});
    if (i >= 100 - kWindowPages) events.push_back({keys[i], true});
  }
  for (int worker = 0; worker < kWorkers; ++worker) index.Apply(worker, events);
  std::vector<PrefixHolder> holders;
  for (auto _ : state) index.Lookup(keys, holders);
  CHECK_EQ(holders.size(), size_t{kWorkers});
  CHECK_EQ(holders.back().usable_pages, 100);
}
BENCHMARK(BM_LookupShared);

}  // namespace
}  // namespace facet

BENCHMARK_MAIN();
