#include "worker/tier_decision.h"

#include "gtest/gtest.h"

namespace facet {
namespace {

// Given nothing measured, expect the move, which measures.
TEST(TierDecisionTest, MovesWhatWasNeverMeasured) {
  EXPECT_TRUE(MoveIsSooner({64, 1 << 20, 1 << 20}, {}));
  EXPECT_TRUE(MoveIsSooner({64, 1 << 20, 1 << 20}, {1000, 0, 0}));
  EXPECT_TRUE(MoveIsSooner({64, 1 << 20, 1 << 20}, {0, 1, 1}));
}

// Given 640 tokens at 1,000 a second, expect the move if its bytes take less than 0.64 s, the way
// from disk to host memory and the way from there to the device together.
TEST(TierDecisionTest, ComparesTheTimes) {
  const TierMove from_host = {640, 6'000'000, 0}, from_disk = {640, 6'000'000, 6'000'000};
  EXPECT_TRUE(MoveIsSooner(from_host, {1000, 1e7, 1e6}));
  EXPECT_FALSE(MoveIsSooner(from_host, {1000, 9e6, 1e6}));
  EXPECT_TRUE(MoveIsSooner(from_disk, {1000, 1e9, 1e7}));
  EXPECT_FALSE(MoveIsSooner(from_disk, {1000, 1e8, 1e7}));
  EXPECT_FALSE(MoveIsSooner(from_disk, {2000, 1e9, 1e7}));
}

// Given pages at another worker, expect their way here to be counted as the disk's is.
TEST(TierDecisionTest, CountsThePull) {
  const TierMove from_peer = {640, 6'000'000, 0, 6'000'000};
  EXPECT_TRUE(MoveIsSooner(from_peer, {1000, 1e9, 0, 0}));
  EXPECT_TRUE(MoveIsSooner(from_peer, {1000, 1e9, 0, 1e7}));
  EXPECT_FALSE(MoveIsSooner(from_peer, {1000, 1e9, 0, 9e6}));
}

// Given a pull, expect it to have twice the time of computing, between the bounds.
TEST(TierDecisionTest, BoundsAPull) {
  EXPECT_EQ(PullTimeout(1000, {}), kPullTimeoutMax);
  EXPECT_EQ(PullTimeout(1000, {1000}), absl::Seconds(2));
  EXPECT_EQ(PullTimeout(1000, {1e6}), kPullTimeoutMin);
  EXPECT_EQ(PullTimeout(1'000'000, {1000}), kPullTimeoutMax);
}

// Given measurements of changing speed, expect the rate to follow the newest ones, by their length.
TEST(TierDecisionTest, RateFollowsTheNewest) {
  MeasuredRate rate;
  EXPECT_EQ(rate.per_s(), 0);
  rate.Add(100, absl::ZeroDuration());
  EXPECT_EQ(rate.per_s(), 0);
  rate.Add(100, absl::Seconds(1));
  EXPECT_DOUBLE_EQ(rate.per_s(), 100);
  rate.Add(1, absl::Milliseconds(1));
  EXPECT_GT(rate.per_s(), 100);
  EXPECT_LT(rate.per_s(), 102);
  for (int i = 0; i < 50; ++i) rate.Add(1000, absl::Seconds(1));
  EXPECT_NEAR(rate.per_s(), 1000, 10);
}

}  // namespace
}  // namespace facet
