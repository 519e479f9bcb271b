#include "worker/sampler.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <random>
#include <vector>

#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/logit_adjustment.h"
#include "worker/philox.h"

namespace facet {
namespace {

using ::facet::testing::IsOkAndHolds;
using ::facet::testing::StatusIs;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

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
    counts[*Sample(logits, sampling, {tokens, i + 1}, {})] += 1.0 / kDraws;
  }
  return counts;
}

// Given no temperature, expect the most likely id, the lower one of two, never a suppressed one.
TEST(SamplerTest, GreedyTakesTheMostLikely) {
  const std::vector<float> logits = {1, 5, 3, 5};
  EXPECT_EQ(*Sample(logits, Temperature(0), {}, {}), 1);
  EXPECT_EQ(*Sample(logits, Temperature(0), {}, {1}), 3);
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

// The straightforward way, by a full sort and exact exponentials: the id, and how far the draw and
// the cuts were from another outcome, as a share of the whole.
struct Outcome {
  int32_t id;
  double margin;
};

Outcome SampleBySorting(std::vector<float> logits, const v1::Sampling& sampling,
                        const SamplerContext& context, const std::vector<int>& suppressed,
                        const std::vector<uint32_t>& mask) {
  for (const LogitOverride& change :
       AdjustLogits(logits, sampling, context.tokens, context.prompt_count, suppressed)) {
    logits[change.id] = change.logit;
  }
  std::vector<int32_t> ids;
  for (int32_t id = 0; id < static_cast<int32_t>(logits.size()); ++id) {
    const bool allowed = mask.empty() || (mask[id / 32] >> (id % 32) & 1) != 0;
    if (allowed && logits[id] > -kInfinity) ids.push_back(id);
  }
  std::sort(ids.begin(), ids.end(), [&](int32_t a, int32_t b) {
    return logits[a] > logits[b] || (logits[a] == logits[b] && a < b);
  });
  if (sampling.temperature() == 0) return {ids[0], 1};
  if (sampling.top_k() > 0) ids.resize(std::min<size_t>(ids.size(), sampling.top_k()));
  std::vector<double> weights, sums;
  double total = 0, margin = 1;
  for (const int32_t id : ids) {
    weights.push_back(std::exp((double{logits[id]} - logits[ids[0]]) / sampling.temperature()));
    sums.push_back(total += weights.back());
  }
  const auto first_reaching = [&](double goal) {
    for (const double sum : sums) margin = std::min(margin, std::abs(sum - goal) / total);
    return std::lower_bound(sums.begin(), sums.end() - 1, goal) - sums.begin();
  };
  size_t count = ids.size();
  if (sampling.top_p() > 0 && sampling.top_p() < 1) {
    count = first_reaching(sampling.top_p() * total) + 1;
  }
  while (weights[count - 1] < sampling.min_p()) --count;
  sums.resize(count);
  const double uniform =
      PhiloxUniform(sampling.seed(), sampling.sample_index(), context.tokens.size());
  return {ids[first_reaching(uniform * sums.back())], margin};
}

// A row of one of the kinds that samplers stumble over.
std::vector<float> RandomRow(std::mt19937& random, int size) {
  std::vector<float> logits(size);
  const int kind = static_cast<int>(random() % 6);
  std::normal_distribution<float> normal(0, kind == 0 ? 0.1f : 3.0f);
  for (float& logit : logits) {
    logit = normal(random);
    if (kind == 1) logit = std::round(logit);                // ties
    if (kind == 2 && random() % 4 != 0) logit = -kInfinity;  // holes
    if (kind == 3) logit *= 20;                              // a few that matter
    if (kind == 4) logit = 1.5f;                             // one value
    if (kind == 5 && random() % 50 == 0) logit += 12;        // a head over a long tail
  }
  logits[random() % size] = 2;  // never nothing at all
  return logits;
}

v1::Sampling RandomSampling(std::mt19937& random, int size) {
  const auto one_of = [&](std::initializer_list<float> values) {
    return values.begin()[random() % values.size()];
  };
  v1::Sampling sampling;
  sampling.set_seed(random());
  sampling.set_temperature(one_of({0, 1e-30f, 0.01f, 0.5f, 1, 1, 1, 1.7f, 2}));
  const uint32_t counts[] = {
      0,      0, 0, 1, 2, 64, 1500, static_cast<uint32_t>(size) - 1, static_cast<uint32_t>(size),
      1000000};
  sampling.set_top_k(counts[random() % std::size(counts)]);
  sampling.set_top_p(one_of({0, 1, 1, 1e-30f, 0.1f, 0.6f, 0.95f, 0.9999f}));
  sampling.set_min_p(one_of({0, 0, 0, 1e-6f, 0.05f, 0.3f, 1}));
  if (random() % 4 == 0) sampling.set_repetition_penalty(one_of({0.5f, 1.2f}));
  if (random() % 4 == 0) sampling.set_presence_penalty(one_of({-1, 0.5f, 2}));
  if (random() % 4 == 0) sampling.set_frequency_penalty(one_of({-0.2f, 0.5f}));
  if (random() % 4 == 0) (*sampling.mutable_logit_bias())[random() % size] = one_of({-100, 4, 100});
  return sampling;
}

// Some tokens, suppressed ids and sometimes a mask: what else decides.
struct Surroundings {
  std::vector<int32_t> tokens;
  std::vector<int> suppressed;
  std::vector<uint32_t> mask;
};

Surroundings RandomSurroundings(std::mt19937& random, const std::vector<float>& logits) {
  const int size = static_cast<int>(logits.size());
  Surroundings around;
  around.tokens.resize(random() % 40);
  for (int32_t& id : around.tokens) id = static_cast<int32_t>(random() % size);
  if (random() % 2 == 0) around.suppressed = {static_cast<int>(random() % size)};
  if (random() % 3 == 0) {
    around.mask.resize((size + 31) / 32);
    for (uint32_t& word : around.mask) word = random() % 3 == 0 ? random() : random() % 2 ? ~0U : 0;
  }
  return around;
}

// Given thousands of rows of all kinds with all combinations of parameters, masks and suppressed
// ids, expect the id that a full sort with exact exponentials gives. Only where the sort came
// within rounding of another id may the two differ.
void ExpectAsBySorting(int rows, int size_max, unsigned seed) {
  SCOPED_TRACE(::testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  int close = 0;
  for (int i = 0; i < rows; ++i) {
    const int size = 1 + static_cast<int>(random() % size_max);
    const std::vector<float> logits = RandomRow(random, size);
    const v1::Sampling sampling = RandomSampling(random, size);
    const Surroundings around = RandomSurroundings(random, logits);
    const SamplerContext context = {around.tokens, static_cast<int>(around.tokens.size() / 2)};
    const absl::StatusOr<int32_t> id =
        Sample(logits, sampling, context, around.suppressed, around.mask);
    if (!id.ok()) {
      const std::vector<LogitOverride> adjusted =
          AdjustLogits(logits, sampling, context.tokens, context.prompt_count, around.suppressed);
      ASSERT_THAT(LogitRow(logits, adjusted, around.mask).Best(1), IsEmpty()) << "row " << i;
      continue;
    }
    const Outcome expected =
        SampleBySorting(logits, sampling, context, around.suppressed, around.mask);
    if (expected.margin < 2e-6 && *id != expected.id) {
      ++close;
      continue;
    }
    ASSERT_EQ(*id, expected.id) << "row " << i << " of " << size << "\n" << sampling.DebugString();
  }
  EXPECT_LE(close, rows / 200);
}

TEST(SamplerTest, DrawsAsAFullSort) { ExpectAsBySorting(5000, 2000, 1); }
TEST(SamplerTest, DrawsAsAFullSortFromSmallVocabularies) { ExpectAsBySorting(6000, 10, 2); }
TEST(SamplerTest, DrawsAsAFullSortFromLargeVocabularies) { ExpectAsBySorting(24, 262144, 3); }

// Given all ids suppressed or masked but one, expect that one; given none left, INTERNAL.
TEST(SamplerTest, ChoosesTheOnlyIdOrNone) {
  const std::vector<float> logits(500, 0.0f);
  std::vector<int> suppressed;
  for (int id = 0; id < 500; ++id) {
    if (id != 321) suppressed.push_back(id);
  }
  std::vector<uint32_t> mask(16, 0);
  for (const float temperature : {0.0f, 1.0f}) {
    EXPECT_THAT(Sample(logits, Temperature(temperature), {}, suppressed), IsOkAndHolds(321));
    mask[321 / 32] = 0;
    EXPECT_THAT(Sample(logits, Temperature(temperature), {}, {}, mask),
                StatusIs(absl::StatusCode::kInternal, HasSubstr("no id may be chosen")));
    mask[321 / 32] = 1U << (321 % 32);
    EXPECT_THAT(Sample(logits, Temperature(temperature), {}, {}, mask), IsOkAndHolds(321));
    EXPECT_FALSE(Sample(logits, Temperature(temperature), {}, {321}, mask).ok());
  }
}

// Given an infinite logit, as of a model that overflowed, expect it without a draw.
TEST(SamplerTest, TakesAnInfiniteLogit) {
  EXPECT_THAT(Sample({0, kInfinity, 0, kInfinity}, Temperature(1), {}, {}), IsOkAndHolds(1));
}

// Given the same seed and position, expect the same draw; another seed draws otherwise.
TEST(SamplerTest, DrawsDependOnSeedIndexAndPositionAlone) {
  const std::vector<float> logits(1000, 0.0f);
  v1::Sampling sampling = Temperature(1);
  sampling.set_seed(7);
  const std::vector<int32_t> tokens(20, 1), other(20, 2);
  const int32_t first = *Sample(logits, sampling, {tokens, 3}, {});
  EXPECT_EQ(*Sample(logits, sampling, {other, 9}, {}), first);
  sampling.set_sample_index(1);
  EXPECT_NE(*Sample(logits, sampling, {tokens, 3}, {}), first);
  sampling.set_sample_index(0);
  sampling.set_seed(8);
  EXPECT_NE(*Sample(logits, sampling, {tokens, 3}, {}), first);
}

// Given penalties and a bias, expect the most likely id to change.
TEST(SamplerTest, PenaltiesAndBiasMoveLogits) {
  const std::vector<float> logits = {2.0f, 1.9f, 0.0f};
  const std::vector<int32_t> tokens = {2, 0, 0};  // id 0 was generated twice, id 2 is the prompt
  const SamplerContext context = {tokens, 1};
  v1::Sampling sampling;
  EXPECT_EQ(*Sample(logits, sampling, context, {}), 0);
  sampling.set_presence_penalty(0.2f);
  EXPECT_EQ(*Sample(logits, sampling, context, {}), 1);
  sampling = {};
  sampling.set_frequency_penalty(0.06f);
  EXPECT_EQ(*Sample(logits, sampling, context, {}), 1);
  sampling = {};
  sampling.set_repetition_penalty(1.2f);
  EXPECT_EQ(*Sample(logits, sampling, context, {}), 1);
  sampling = {};
  (*sampling.mutable_logit_bias())[2] = 5;
  EXPECT_EQ(*Sample(logits, sampling, context, {}), 2);
}

// Given logits, expect log probabilities of softmax, the best first.
TEST(SamplerTest, LogprobsAreLogSoftmax) {
  const std::vector<float> logits = {std::log(0.2f), std::log(0.5f), std::log(0.3f)};
  const Logprobs logprobs(logits);
  EXPECT_NEAR(logprobs.Of(2), std::log(0.3), 1e-6);
  EXPECT_THAT(logprobs.Top(0), IsEmpty());
  const std::vector<TokenLogprob> top = logprobs.Top(2);
  EXPECT_EQ(top[0].id, 1);
  EXPECT_EQ(top[1].id, 2);
  EXPECT_NEAR(top[0].logprob, std::log(0.5), 1e-6);
}

// Given a large row with ties and holes (seed 1), expect what exact exponentials and a sort give.
TEST(SamplerTest, LogprobsOfLargeRowsAreExact) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0, 4);
  std::vector<float> logits(50000);
  for (float& logit : logits) logit = random() % 9 == 0 ? -kInfinity : std::round(normal(random));
  double sum = 0;
  std::vector<Candidate> sorted;
  for (int32_t id = 0; id < 50000; ++id) {
    sum += std::exp(double{logits[id]});
    sorted.push_back({logits[id], id});
  }
  std::sort(sorted.begin(), sorted.end());
  const Logprobs logprobs(logits);
  const std::vector<TokenLogprob> top = logprobs.Top(20);
  ASSERT_EQ(top.size(), 20);
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(top[i].id, sorted[i].id);
    EXPECT_NEAR(top[i].logprob, sorted[i].logit - std::log(sum), 2e-6);
  }
  EXPECT_EQ(logprobs.Of(sorted.back().id), -kInfinity);
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
