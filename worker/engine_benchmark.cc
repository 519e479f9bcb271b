// What a step costs beside kernels and sampling: taking requests in, planning, pages, the batch and
// the replies (BM_EngineStep, with a runner that computes nothing and a vocabulary of 64), and the
// preparation of attention for rows of the 12B's shape (BM_AttentionRows).
//   bazel run --config=release //worker:engine_benchmark
#include <benchmark/benchmark.h>

#include <memory>
#include <vector>

#include "base/check.h"
#include "kernels/cpu/cpu_device.h"
#include "worker/attention_rows.h"
#include "worker/engine.h"
#include "worker/engine_options.h"
#include "worker/loaded_model.h"

namespace facet {
namespace {

constexpr int kVocabulary = 64;

// Says that the same token is the likeliest, whatever the batch.
class IdleRunner final : public ModelRunner {
 public:
  explicit IdleRunner(int requests) : logits_(requests * kVocabulary) {
    options_.rows_max = 512;
    options_.output_rows_max = requests;
    for (int r = 0; r < requests; ++r) logits_[r * kVocabulary + 7] = 1;
  }
  absl::Span<const float> RunBlocking(const Batch& batch) override {
    return absl::MakeSpan(logits_).subspan(0, batch.output_rows.size() * kVocabulary);
  }
  const float* output_states() const override { return nullptr; }
  const ModelRunnerOptions& options() const override { return options_; }

 private:
  ModelRunnerOptions options_;
  std::vector<float> logits_;
};

class CountingSink final : public StepSink {
 public:
  void OnStep(std::vector<Output> outputs) override {
    for (const Output& output : outputs) {
      finished += output.reply.finish_reason() != v1::FINISH_REASON_UNSPECIFIED ? 1 : 0;
    }
    benchmark::DoNotOptimize(outputs.data());
  }
  int finished = 0;
};

void BM_EngineStep(benchmark::State& state) {
  const int requests = static_cast<int>(state.range(0));
  LoadOptions load;
  load.kv.running_requests_max = requests;
  load.kv.memory_bytes = int64_t{1} << 30;
  absl::StatusOr<LoadedModel> model = LoadModel("tests/testdata/golden/model.gguf", load);
  CHECK_OK(model);
  IdleRunner runner(requests);
  EngineOptions options = EngineOptionsFor(*model);
  options.vocab_size = kVocabulary;
  options.suppressed_ids.clear();
  EngineParts parts = PartsOf(*model);
  parts.runner = &runner;
  Engine engine(options, parts);
  auto sink = std::make_shared<CountingSink>();
  v1::GenerateRequest request;
  for (int i = 0; i < 200; ++i) request.add_prompt_tokens(i % kVocabulary);
  request.set_tokens_max(2000);
  uint64_t next_id = 0;
  const auto fill = [&] {
    for (; next_id < static_cast<uint64_t>(sink->finished + requests); ++next_id) {
      request.set_cache_salt(std::to_string(next_id));
      CHECK_OK(engine.Submit(request, sink, next_id));
    }
    // Until all decode.
    for (int step = 0; step < 2 * requests; ++step) engine.RunOneStep();
  };
  fill();
  int finished = 0;
  for (auto _ : state) {
    engine.RunOneStep();
    if (sink->finished == finished) continue;
    state.PauseTiming();
    finished = sink->finished;
    fill();
    state.ResumeTiming();
  }
}
BENCHMARK(BM_EngineStep)->Arg(1)->Arg(64)->Unit(benchmark::kMicrosecond);

void BM_AttentionRows(benchmark::State& state) {
  const int rows = static_cast<int>(state.range(0));
  const bool sliding = state.range(1) == 1;
  const auto device = MakeCpuDevice({});
  CHECK_OK(device);
  Weights weights = {};
  weights.config.rope_theta_sliding = 1e4f;
  weights.config.rope_theta_full = 1e6f;
  weights.config.layers = {{true, 8, 256}, {false, 1, 512}};
  weights.rope_divisors.assign(256, 1e30f);
  std::fill_n(weights.rope_divisors.begin(), 64, 1.0f);
  auto attention = AttentionRows::Make(weights, sliding, rows, device->get());
  CHECK_OK(attention);
  std::vector<int32_t> position, sequence, first, last;
  std::vector<PageTables> pages(rows);
  std::vector<const PageTables*> tables;
  for (int r = 0; r < rows; ++r) {
    position.push_back(1000 + r);
    sequence.push_back(r);
    first.push_back(0);
    last.push_back(1000 + r);
    pages[r].full.assign(16, r);
    pages[r].sliding.assign(16, r);
    tables.push_back(&pages[r]);
  }
  for (auto _ : state) {
    attention->Set({position, sequence, first, last, tables});
    for (int32_t& at : position) ++at;
  }
}
BENCHMARK(BM_AttentionRows)->Args({64, 0})->Args({64, 1})->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace facet
