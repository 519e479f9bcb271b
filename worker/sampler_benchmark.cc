// Speed of the sampler over Gemma's vocabulary, beside its bound: reading the logits once. Run it
// with
//   bazel run --config=release //worker:sampler_benchmark -- --benchmark_repetitions=9
// One iteration samples 64 rows of 262,144 on one core, as a step of 64 requests does. The rows are
// bells of width 3 with 20 ids above, as a model's are that has an opinion; `flat` has the bell
// alone at temperature 2, where a draw may fall anywhere.

#include <benchmark/benchmark.h>

#include <numeric>
#include <random>
#include <vector>

#include "base/check.h"
#include "worker/sampler.h"

namespace facet {
namespace {

constexpr int kRows = 64;
constexpr int kVocabulary = 262144;

std::vector<float> MakeRows(bool flat) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> logits(size_t{kRows} * kVocabulary);
  for (float& logit : logits) logit = normal(random);
  for (int i = 0; !flat && i < kRows * 20; ++i) {
    logits[size_t{i / 20U} * kVocabulary + random() % kVocabulary] = 18 + normal(random);
  }
  return logits;
}

const std::vector<float>& Rows(bool flat) {
  static const std::vector<float> opinionated = MakeRows(false), indifferent = MakeRows(true);
  return flat ? indifferent : opinionated;
}

// Calls `use` for each row, all of them in each iteration.
template <typename Use>
void ForRows(benchmark::State& state, bool flat, const Use& use) {
  const absl::Span<const float> rows = Rows(flat);
  for (auto _ : state) {
    for (int row = 0; row < kRows; ++row) {
      benchmark::DoNotOptimize(use(rows.subspan(size_t{kVocabulary} * row, kVocabulary)));
    }
  }
  state.SetBytesProcessed(state.iterations() * rows.size() * sizeof(float));
}

// The bound. A sum of integers, because any compiler makes vectors of that.
void BM_ReadOnce(benchmark::State& state) {
  ForRows(state, false, [](absl::Span<const float> row) {
    const auto* words = reinterpret_cast<const uint32_t*>(row.data());
    return std::accumulate(words, words + row.size(), uint32_t{0});
  });
}

void BM_Sample(benchmark::State& state, const v1::Sampling& sampling, int token_count, bool flat,
               bool masked) {
  std::mt19937 random(2);
  std::vector<int32_t> tokens(token_count);
  for (int32_t& id : tokens) id = static_cast<int32_t>(random() % kVocabulary);
  const std::vector<int> suppressed = {0, 2, 255999, 256000};
  std::vector<uint32_t> mask;  // as a grammar's: few blocks with anything allowed
  if (masked) mask.resize(kVocabulary / 32);
  for (size_t i = 0; i < mask.size(); i += 64) mask[i] = 0xF0F0F0F0;
  v1::Sampling each = sampling;
  ForRows(state, flat, [&](absl::Span<const float> row) {
    each.set_seed(each.seed() + 1);
    const absl::StatusOr<int32_t> id =
        Sample(row, each, {tokens, token_count / 2}, suppressed, mask);
    CHECK(id.ok());
    return *id;
  });
}

void BM_Logprobs(benchmark::State& state) {
  ForRows(state, false, [](absl::Span<const float> row) {
    const Logprobs logprobs(row);
    return logprobs.Of(7) + logprobs.Top(20)[19].logprob;
  });
}

v1::Sampling Options(float temperature, uint32_t top_k, float top_p, float min_p) {
  v1::Sampling sampling;
  sampling.set_temperature(temperature);
  sampling.set_top_k(top_k);
  sampling.set_top_p(top_p);
  sampling.set_min_p(min_p);
  return sampling;
}

void Register(const char* name, const v1::Sampling& sampling, int token_count = 1000,
              bool flat = false, bool masked = false) {
  benchmark::RegisterBenchmark(name, [=](benchmark::State& state) {
    BM_Sample(state, sampling, token_count, flat, masked);
  })->Unit(benchmark::kMillisecond);
}

void RegisterAll() {
  benchmark::RegisterBenchmark("read_once", BM_ReadOnce)->Unit(benchmark::kMillisecond);
  Register("greedy", Options(0, 0, 0, 0));
  Register("temperature", Options(1, 0, 0, 0));
  Register("top_k_64_top_p_0.95", Options(1, 64, 0.95f, 0));
  Register("top_p_0.95", Options(1, 0, 0.95f, 0));
  Register("min_p_0.05", Options(1, 0, 0, 0.05f));
  v1::Sampling penalties = Options(1, 64, 0.95f, 0);
  penalties.set_repetition_penalty(1.1f);
  penalties.set_presence_penalty(0.5f);
  penalties.set_frequency_penalty(0.1f);
  Register("penalties_1k_tokens", penalties, 1000);
  Register("penalties_32k_tokens", penalties, 32768);
  Register("mask_of_a_grammar", Options(1, 64, 0.95f, 0), 1000, false, true);
  Register("flat/temperature_2", Options(2, 0, 0, 0), 1000, true);
  Register("flat/top_p_0.95", Options(2, 0, 0.95f, 0), 1000, true);
  Register("flat/top_k_10000", Options(2, 10000, 0, 0), 1000, true);
  benchmark::RegisterBenchmark("logprobs_20", BM_Logprobs)->Unit(benchmark::kMillisecond);
}

}  // namespace
}  // namespace facet

int main(int argc, char** argv) {
  facet::RegisterAll();
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
