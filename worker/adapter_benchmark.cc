// What LoRA adapters add to a step of the 12B: all products of one period of layers, five sliding
// and a full one, with rank 16 in every matrix, in BF16. A step has eight periods.
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "benchmark/benchmark.h"
#include "kernels/cpu/cpu_device.h"
#include "model/testing/random_adapter.h"
#include "worker/adapter_registry.h"
#include "worker/adapter_rows.h"

namespace facet {
namespace {

constexpr int kRank = 16;
constexpr int kAdaptersMax = 16;

TextConfig OnePeriod() {
  TextConfig config = {};
  config.hidden_size = 3840;
  config.feed_forward_size = 15360;
  config.query_heads = 16;
  config.layers.assign(5, {.sliding = true, .kv_heads = 8, .head_dim = 256});
  config.layers.push_back({.sliding = false, .kv_heads = 1, .head_dim = 512});
  return config;
}

// Kept until the process ends, since they take seconds to make.
struct Setup {
  Setup() {
    device = MakeCpuDevice({2, "auto"}).value();
    registry = std::make_unique<AdapterRegistry>(&shard, device.get(),
                                                 AdapterLimits{kAdaptersMax, int64_t{1} << 30});
    const std::string path =
        testing::WriteRandomAdapter("benchmark", config, kRank, 1, /*whole=*/true);
    // Each has memory of its own, so that none is read from a cache.
    for (int i = 0; i < kAdaptersMax; ++i) {
      CHECK_OK(registry->BlockingLoad(absl::StrCat("a", i), path));
      adapters.push_back(registry->Find(absl::StrCat("a", i)));
    }
  }
  const TextConfig config = OnePeriod();
  const ShardPlan shard = WholePlan(config);
  std::unique_ptr<Device> device;
  std::unique_ptr<AdapterRegistry> registry;
  std::vector<std::shared_ptr<const Adapter>> adapters;  // shared with the registry
};

// `rows` decodes, of which each has one of `adapters` in turn. They are changed from step to step,
// as if layers of other periods came in between.
void AdapterStep(benchmark::State& state) {
  static Setup* const setup = new Setup;
  const int rows = static_cast<int>(state.range(0)), adapters = static_cast<int>(state.range(1));
  AdapterRows adapter_rows = AdapterRows::Make(setup->config, rows, setup->device.get()).value();
  const std::vector<float> x(int64_t{rows} * setup->config.feed_forward_size, 0.5f);
  std::vector<float> out(x.size());
  int first = 0;
  for (auto _ : state) {
    Batch batch;
    const PageTables pages;
    for (int r = 0; r < rows; ++r) {
      batch.Add({1}, r, &pages, 1, /*items=*/{},
                setup->adapters[(first + r % adapters) % kAdaptersMax].get());
    }
    first += adapters;
    adapter_rows.Set(batch);
    for (int layer = 0; layer < static_cast<int>(setup->config.layers.size()); ++layer) {
      for (int matrix = 0; matrix < kAdapterMatrices; ++matrix) {
        adapter_rows.Apply(layer, static_cast<AdapterMatrix>(matrix), x.data(), out.data());
      }
    }
  }
  const int64_t bytes = setup->adapters[0]->bytes * adapters;
  state.SetBytesProcessed(bytes * static_cast<int64_t>(state.iterations()));
  state.counters["MB"] = static_cast<double>(bytes) * 1e-6;
}
BENCHMARK(AdapterStep)
    ->ArgNames({"rows", "adapters"})
    ->Args({1, 1})
    ->Args({16, 1})
    ->Args({16, 4})
    ->Args({16, 16})
    ->Args({512, 1})
    ->Unit(benchmark::kMillisecond)
    ->MeasureProcessCPUTime();

}  // namespace
}  // namespace facet

BENCHMARK_MAIN();
