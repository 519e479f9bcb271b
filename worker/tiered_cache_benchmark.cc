// What cached prefixes cost: looking up and holding pages, and moving them. Run it with
//   bazel run --config=release //worker:tiered_cache_benchmark
// Pages are moved at the 12B's sizes; the disk is that of the folder TMPDIR (or /tmp).

#include <benchmark/benchmark.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "kernels/cpu/cpu_device.h"
#include "worker/disk_tier.h"
#include "worker/host_tier.h"
#include "worker/kv_cache.h"
#include "worker/tiered_cache.h"

namespace facet {
namespace {

constexpr int kWindowTokens = 1024;

std::vector<PageKey> Chain(int count) {
  std::vector<PageKey> keys;
  PageKey key = RootPageKey("");
  for (int i = 0; i < count; ++i) {
    key = NextPageKey(key, std::vector<int32_t>(kPageTokens, i));
    keys.push_back(key);
  }
  return keys;
}

// A cache of pages of a few bytes, so that keys alone cost time.
KvPlan TinyPages(int32_t pages) {
  KvPlan plan;
  plan.full_pages = plan.sliding_pages = pages;
  plan.full_page_bytes = plan.sliding_page_bytes = int64_t{kPageTokens} * 2 * 4;
  return plan;
}

TextConfig TinyConfig() {
  TextConfig config = {};
  config.sliding_window_tokens = kWindowTokens;
  config.layers = {{true, 1, 1}, {false, 1, 1}};
  return config;
}

void Publish(PrefixCache& pages, const std::vector<PageKey>& keys) {
  for (const KvPool pool : {KvPool::kFull, KvPool::kSliding}) {
    for (size_t i = 0; i < keys.size(); ++i) {
      const int32_t page = pages.Take(pool);
      pages.Release(pool, pages.Publish(pool, page, keys[i], static_cast<int>(i)));
    }
  }
}

// Find and Hold of a prefix on the device, and letting go of it; `host`: with host memory behind,
// and one page more asked for than there is, so that all tiers are looked at.
void FindAndHold(benchmark::State& state, bool host) {
  const auto count = static_cast<int>(state.range(0));
  const auto device = MakeCpuDevice({1, "auto"}).value();
  const KvPlan plan = TinyPages(count + 1);
  KvCache cache = KvCache::Make(TinyConfig(), plan, *device).value();
  const auto host_tier = HostTier::Make(plan, kWindowTokens, plan.bytes()).value();
  TieredCache tiers(&cache, host ? host_tier.get() : nullptr, nullptr, nullptr, absl::Now);
  std::vector<PageKey> keys = Chain(count + 1);
  const PageKey missing = keys.back();
  keys.pop_back();
  Publish(cache.pages(), keys);
  if (host) keys.push_back(missing);
  std::vector<int32_t> full, sliding;
  for (auto _ : state) {
    full.clear();
    sliding.clear();
    const int pages = tiers.Find(keys).pages;
    tiers.Hold(keys, pages, &full, &sliding);
    CHECK_EQ(pages, count);
    state.PauseTiming();
    for (const int32_t page : full) cache.pages().Release(KvPool::kFull, page);
    for (const int32_t page : sliding) {
      if (page != PrefixCache::kNone) cache.pages().Release(KvPool::kSliding, page);
    }
    state.ResumeTiming();
  }
  state.counters["s_per_page"] =
      benchmark::Counter(static_cast<double>(state.iterations()) * count,
                         benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}
void BM_FindAndHoldOnTheDevice(benchmark::State& state) { FindAndHold(state, false); }
void BM_FindAndHoldInAllTiers(benchmark::State& state) { FindAndHold(state, true); }
BENCHMARK(BM_FindAndHoldOnTheDevice)->Arg(64)->Arg(1024)->Unit(benchmark::kMicrosecond);
BENCHMARK(BM_FindAndHoldInAllTiers)->Arg(64)->Arg(1024)->Unit(benchmark::kMicrosecond);

// The 12B's layers with memory for a few pages.
struct TwelveB {
  TwelveB() : device(MakeCpuDevice({1, "auto"}).value()) {
    TextConfig config = {};
    config.sliding_window_tokens = kWindowTokens;
    for (int i = 0; i < 48; ++i) {
      config.layers.push_back(i % 6 == 5 ? LayerConfig{false, 1, 512} : LayerConfig{true, 8, 256});
    }
    plan.full_pages = plan.sliding_pages = 8;
    plan.full_page_bytes = int64_t{kPageTokens} * 8 * 512 * 2 * 4;
    plan.sliding_page_bytes = int64_t{kPageTokens} * 40 * 8 * 256 * 2 * 4;
    cache = std::make_unique<KvCache>(KvCache::Make(config, plan, *device).value());
    host = HostTier::Make(plan, kWindowTokens, plan.bytes()).value();
    // Touched once, as memory in use is.
    for (const KvPool pool : {KvPool::kFull, KvPool::kSliding}) {
      for (int32_t page = 0; page < 8; ++page) {
        std::fill_n(host->memory(pool, page), plan.page_bytes(pool), uint8_t{1});
        cache->CopyPageToDevice(pool, page, host->memory(pool, page));
      }
    }
  }
  KvPlan plan;
  std::unique_ptr<Device> device;
  std::unique_ptr<KvCache> cache;
  std::unique_ptr<HostTier> host;
};

void BM_CopyPage(benchmark::State& state) {
  TwelveB model;
  const auto pool = static_cast<KvPool>(state.range(0));
  const bool to_device = state.range(1) != 0;
  int32_t page = 0;
  for (auto _ : state) {
    uint8_t* memory = model.host->memory(pool, page);
    if (to_device) {
      model.cache->CopyPageToDevice(pool, 7 - page, memory);
    } else {
      model.cache->CopyPageToHostBlocking(pool, 7 - page, memory);
    }
    page = (page + 1) % 8;
  }
  state.SetBytesProcessed(state.iterations() * model.plan.page_bytes(pool));
}
BENCHMARK(BM_CopyPage)->ArgNames({"sliding", "to_device"})->ArgsProduct({{0, 1}, {0, 1}});

void BM_DiskPage(benchmark::State& state) {
  TwelveB model;
  const auto pool = static_cast<KvPool>(state.range(0));
  const bool read = state.range(1) != 0;
  const char* parent = std::getenv("TMPDIR");
  std::string folder = absl::StrCat(parent == nullptr ? "/tmp" : parent, "/facet_disk_XXXXXX");
  CHECK_NE(mkdtemp(folder.data()), nullptr);
  DiskTierOptions options;
  options.folder = folder;
  options.bytes_max = int64_t{1} << 30;
  options.page_bytes[0] = model.plan.full_page_bytes;
  options.page_bytes[1] = model.plan.sliding_page_bytes;
  DiskTier disk(options);
  const PoolKey key = {pool, Chain(1)[0]};
  const auto run = [&](DiskTier::Operation::Kind kind) {
    CHECK(disk.Enqueue({kind, key, 0, 0, model.host->memory(pool, 0)}));
    CHECK(disk.RunOnce());
    CHECK(disk.TakeCompleted()[0].ok);
  };
  run(DiskTier::Operation::kWrite);
  for (auto _ : state) run(read ? DiskTier::Operation::kRead : DiskTier::Operation::kWrite);
  state.SetBytesProcessed(state.iterations() * model.plan.page_bytes(pool));
  std::filesystem::remove_all(folder);
}
BENCHMARK(BM_DiskPage)->ArgNames({"sliding", "read"})->ArgsProduct({{0, 1}, {0, 1}})->UseRealTime();

}  // namespace
}  // namespace facet

BENCHMARK_MAIN();
