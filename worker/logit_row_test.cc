#include "worker/logit_row.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace facet {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<int32_t> Ids(const std::vector<Candidate>& candidates) {
  std::vector<int32_t> ids;
  ids.reserve(candidates.size());
  for (const Candidate& candidate : candidates) ids.push_back(candidate.id);
  return ids;
}

// Given logits over the whole range that weighs something, expect the exponential to within the
// rounding of its argument.
TEST(SoftmaxTest, WeighsAsTheExponential) {
  for (const float temperature : {0.1f, 1.0f, 2.0f}) {
    const Softmax softmax(10, temperature);
    for (double exponent = 0; exponent > -49.9; exponent -= 0.00137) {
      const auto logit = static_cast<float>(10 + exponent * temperature);
      const double expected = std::exp((double{logit} - 10) / temperature);
      ASSERT_NEAR(softmax.Weight(logit) / expected, 1, 2e-7 * (1 - exponent)) << logit;
    }
  }
}

// Given the maximum, expect exactly 1; given less by a hair, less or the same; given what is far
// below, -infinity or not a number, exactly 0.
TEST(SoftmaxTest, HasExactEnds) {
  for (const float temperature : {1e-40f, 1e-6f, 0.7f, 2.0f}) {
    const Softmax softmax(3, temperature);
    EXPECT_EQ(softmax.Weight(3), 1);
    EXPECT_LE(softmax.Weight(std::nextafter(3.0f, 0.0f)), 1);
    EXPECT_EQ(softmax.Weight(3 - 50 * std::max(temperature, 1e-5f)), 0);
    for (const float nothing : {-kInfinity, kNan, std::numeric_limits<float>::lowest()}) {
      EXPECT_EQ(softmax.Weight(nothing), 0);
      EXPECT_TRUE(softmax.Negligible(nothing));
    }
  }
}

// Given a block, expect its sum to be that of its weights, and the same bits each time.
TEST(SoftmaxTest, SumsABlock) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0, 5);
  std::vector<float> logits(LogitRow::kBlock);
  for (float& logit : logits) logit = normal(random);
  logits[5] = -kInfinity, logits[77] = kNan;
  const Softmax softmax(20, 1);
  double sum = 0;
  for (const float logit : logits) sum += softmax.Weight(logit);
  EXPECT_NEAR(softmax.SumOfBlock(logits.data()) / sum, 1, 1e-6);
  EXPECT_EQ(softmax.SumOfBlock(logits.data()), softmax.SumOfBlock(logits.data()));
}

// Given rows of any length around a block's, expect the first of the largest logits.
TEST(LogitRowTest, FindsTheLowestIdOfTheMaximum) {
  for (const int size : {1, 2, 31, 127, 128, 129, 255, 256, 300, 1000}) {
    for (int place = 0; place < size; place += 7) {
      std::vector<float> logits(size, -2);
      logits[place] = 5;
      logits[size - 1] = 5;
      const LogitRow row(logits);
      EXPECT_EQ(row.maximum(), 5);
      EXPECT_EQ(row.MostLikely(), place) << size;
    }
  }
}

// Given overrides and a mask, expect them in place of the row, the mask last.
TEST(LogitRowTest, SeesOverridesAndMask) {
  std::vector<float> logits(300);
  for (int i = 0; i < 300; ++i) logits[i] = static_cast<float>(i);
  const std::vector<LogitOverride> overrides = {{3, 1000}, {130, 900}, {299, -kInfinity}};
  EXPECT_THAT(Ids(LogitRow(logits, overrides).Best(3)), ElementsAre(3, 130, 298));
  std::vector<uint32_t> mask(10, ~0U);
  mask[0] &= ~(1U << 3);
  EXPECT_EQ(LogitRow(logits, overrides, mask).MostLikely(), 130);
  std::fill(mask.begin(), mask.end(), 0U);
  EXPECT_EQ(LogitRow(logits, overrides, mask).maximum(), -kInfinity);
  mask[256 / 32] = 0b11;  // a block of which two ids are allowed, among blocks of none
  EXPECT_THAT(Ids(LogitRow(logits, overrides, mask).Best(9)), ElementsAre(256, 257));
}

// Given logits that are not numbers, expect the others alone; given nothing else, no maximum.
TEST(LogitRowTest, NeverChoosesWhatIsNotANumber) {
  EXPECT_EQ(LogitRow({kNan, -7, kNan, -8}).MostLikely(), 1);
  EXPECT_THAT(Ids(LogitRow({kNan, -7, kNan, -8}).Best(4)), ElementsAre(1, 3));
  const LogitRow nothing({kNan, -kInfinity});
  EXPECT_EQ(nothing.maximum(), -kInfinity);
  EXPECT_THAT(nothing.Best(2), IsEmpty());
}

// Given rows with many ties (seed 1), expect the best of each count to be those of a sort.
TEST(LogitRowTest, BestAreThoseOfASort) {
  std::mt19937 random(1);
  for (const int size : {5, 200, 3000, 40000}) {
    std::vector<float> logits(size);
    for (float& logit : logits) logit = static_cast<float>(random() % 500) / 8;
    std::vector<Candidate> sorted;
    sorted.reserve(size);
    for (int i = 0; i < size; ++i) sorted.push_back({logits[i], i});
    std::sort(sorted.begin(), sorted.end());
    for (const int count : {1, 2, 64, 256, 1000, 39999, 50000}) {
      std::vector<int32_t> expected = Ids(sorted);
      expected.resize(std::min(count, size));
      std::sort(expected.begin(), expected.end());
      EXPECT_EQ(Ids(LogitRow(logits).Best(count)), expected) << size << " " << count;
    }
  }
}

}  // namespace
}  // namespace facet
