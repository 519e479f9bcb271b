#include "worker/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/philox.h"

namespace facet {
namespace {

using ::facet::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

// The published vectors of Random123 (kat_vectors: philox 4x32 10).
TEST(PhiloxTest, MatchesThePublishedVectors) {
  const PhiloxBlock zeros = Philox4x32({{0, 0, 0, 0}}, 0, 0);
  EXPECT_EQ(zeros.words[0], 0x6627e8d5u);
  EXPECT_EQ(zeros.words[1], 0xe169c58du);
  EXPECT_EQ(zeros.words[2], 0xbc57ac4cu);
  EXPECT_EQ(zeros.words[3], 0x9b00dbd8u);
  const PhiloxBlock pi =
      Philox4x32({{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}}, 0xa4093822, 0x299f31d0);
  EXPECT_EQ(pi.words[0], 0xd16cfe09u);
  EXPECT_EQ(pi.words[1], 0x94fdccebu);
  EXPECT_EQ(pi.words[2], 0x5001e420u);
  EXPECT_EQ(pi.words[3], 0x24126ea1u);
}

v1::Sampling Temperature(float temperature) {
  v1::Sampling sampling;
  sampling.set_temperature(temperature);
  return sampling;
}

// How often each id is drawn over many positions.
std::vector<double> Frequencies(const std::vector<float>& logits, const v1::Sampling& sampling) {
  constexpr int kDraws = 40000;
  std::vector<double> counts(logits.size(), 0);
  std::vector<int32_t> tokens;
  for (int i = 0; i < kDraws; ++i) {
    tokens.push_back(0);
    counts[Sample(logits, sampling, {tokens, i + 1}, {})] += 1.0 / kDraws;
  }
  return counts;
}

// Given no temperature, expect the most likely id, the lower one of two, never a suppressed one.
TEST(SamplerTest, GreedyTakesTheMostLikely) {
  const std::vector<float> logits = {1, 5, 3, 5};
  EXPECT_EQ(Sample(logits, Temperature(0), {}, {}), 1);
  EXPECT_EQ(Sample(logits, Temperature(0), {}, {1}), 3);
}

// Given a temperature, expect draws as often as softmax says (4 standard deviations).
TEST(SamplerTest, DrawsBySoftmax) {
  const std::vector<float> logits = {0, 1, 2, -1};
  for (const float temperature : {0.5f, 1.0f, 2.0f}) {
    double sum = 0;
    for (const float logit : logits) sum += std::exp(logit / temperature);
    const std::vector<double> frequencies = Frequencies(logits, Temperature(temperature));
    for (int i = 0; i < 4; ++i) {
      EXPECT_NEAR(frequencies[i], std::exp(logits[i] / temperature) / sum, 0.01);
    }
  }
}

// Given top-k, top-p and min-p, expect only the ids they leave to be drawn.
TEST(SamplerTest, CutsTheTail) {
  const std::vector<float> logits = {std::log(0.5f), std::log(0.3f), std::log(0.15f),
                                     std::log(0.05f)};
  v1::Sampling sampling = Temperature(1);
  sampling.set_top_k(2);
  EXPECT_EQ(Frequencies(logits, sampling)[2], 0);
  sampling = Temperature(1);
  sampling.set_top_p(0.79f);
  EXPECT_EQ(Frequencies(logits, sampling)[2], 0);
  EXPECT_NEAR(Frequencies(logits, sampling)[0], 0.5 / 0.8, 0.01);
  sampling.set_top_p(0.81f);
  EXPECT_GT(Frequencies(logits, sampling)[2], 0);
  EXPECT_EQ(Frequencies(logits, sampling)[3], 0);
  sampling = Temperature(1);
  sampling.set_min_p(0.2f);
  EXPECT_GT(Frequencies(logits, sampling)[2], 0);
  EXPECT_EQ(Frequencies(logits, sampling)[3], 0);
}

// Given a large vocabulary (seed 4), expect that the cut by a heap draws what a full sort would.
TEST(SamplerTest, LargeVocabulariesCutAsAFullSort) {
  std::mt19937 random(4);
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> logits(50000);
  for (float& logit : logits) logit = normal(random);
  std::vector<float> sorted = logits;
  std::sort(sorted.rbegin(), sorted.rend());
  double total = 0, mass = 0;
  for (const float logit : sorted) total += std::exp(double{logit} - sorted[0]);
  size_t kept = 0;
  while (mass < 0.9 * total) mass += std::exp(double{sorted[kept++]} - sorted[0]);
  v1::Sampling sampling = Temperature(1);
  sampling.set_top_p(0.9f);
  std::vector<int32_t> tokens;
  for (int i = 0; i < 50; ++i) {
    tokens.push_back(0);
    EXPECT_GE(logits[Sample(logits, sampling, {tokens, i + 1}, {})], sorted[kept]);
  }
}

// Given the same seed and position, expect the same draw; another seed draws otherwise.
TEST(SamplerTest, DrawsDependOnSeedIndexAndPositionAlone) {
  const std::vector<float> logits(1000, 0.0f);
  v1::Sampling sampling = Temperature(1);
  sampling.set_seed(7);
  const std::vector<int32_t> tokens(20, 1), other(20, 2);
  const int32_t first = Sample(logits, sampling, {tokens, 3}, {});
  EXPECT_EQ(Sample(logits, sampling, {other, 9}, {}), first);
  sampling.set_sample_index(1);
  EXPECT_NE(Sample(logits, sampling, {tokens, 3}, {}), first);
  sampling.set_sample_index(0);
  sampling.set_seed(8);
  EXPECT_NE(Sample(logits, sampling, {tokens, 3}, {}), first);
}

// Given penalties and a bias, expect the most likely id to change.
TEST(SamplerTest, PenaltiesAndBiasMoveLogits) {
  const std::vector<float> logits = {2.0f, 1.9f, 0.0f};
  const std::vector<int32_t> tokens = {2, 0, 0};  // id 0 was generated twice, id 2 is the prompt
  const SamplerContext context = {tokens, 1};
  v1::Sampling sampling;
  EXPECT_EQ(Sample(logits, sampling, context, {}), 0);
  sampling.set_presence_penalty(0.2f);
  EXPECT_EQ(Sample(logits, sampling, context, {}), 1);
  sampling = {};
  sampling.set_frequency_penalty(0.06f);
  EXPECT_EQ(Sample(logits, sampling, context, {}), 1);
  sampling = {};
  sampling.set_repetition_penalty(1.2f);
  EXPECT_EQ(Sample(logits, sampling, context, {}), 1);
  sampling = {};
  (*sampling.mutable_logit_bias())[2] = 5;
  EXPECT_EQ(Sample(logits, sampling, context, {}), 2);
}

// Given logits, expect log probabilities of softmax, the best first.
TEST(SamplerTest, LogprobsAreLogSoftmax) {
  const std::vector<float> logits = {std::log(0.2f), std::log(0.5f), std::log(0.3f)};
  EXPECT_NEAR(Logprob(logits, 2), std::log(0.3), 1e-6);
  const std::vector<TokenLogprob> top = TopLogprobs(logits, 2);
  EXPECT_EQ(top[0].id, 1);
  EXPECT_EQ(top[1].id, 2);
  EXPECT_NEAR(top[0].logprob, std::log(0.5), 1e-6);
}

// Given values out of range or not a number, expect the field's name.
TEST(SamplerTest, ValidationNamesTheField) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const auto expect = [](const v1::Sampling& sampling, const char* field) {
    EXPECT_THAT(ValidateSampling(sampling, 100),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(field)));
  };
  v1::Sampling sampling;
  EXPECT_OK(ValidateSampling(sampling, 100));
  for (const float bad : {nan, -1.0f, 11.0f}) {
    sampling = {}, sampling.set_temperature(bad), expect(sampling, "temperature");
    sampling = {}, sampling.set_top_p(bad), expect(sampling, "top_p");
    sampling = {}, sampling.set_min_p(bad), expect(sampling, "min_p");
    sampling = {}, sampling.set_repetition_penalty(bad), expect(sampling, "repetition_penalty");
  }
  sampling = {}, sampling.set_presence_penalty(3), expect(sampling, "presence_penalty");
  sampling = {}, sampling.set_frequency_penalty(nan), expect(sampling, "frequency_penalty");
  sampling = {}, sampling.set_top_logprobs(21), expect(sampling, "top_logprobs");
  sampling = {}, (*sampling.mutable_logit_bias())[100] = 1, expect(sampling, "logit_bias");
}

}  // namespace
}  // namespace facet
