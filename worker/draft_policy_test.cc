#include "worker/draft_policy.h"

#include <random>

#include "gtest/gtest.h"

namespace facet {
namespace {

// Given steps whose time is that of reading the weights whatever their rows, expect as many drafts
// as are likely to be accepted.
TEST(DraftPolicyTest, DraftsWhereRowsAreFree) {
  StepCosts target, drafter;
  for (int rows = 1; rows <= 4; ++rows) target.Add(rows, 1.0);
  drafter.Add(1, 0.06);
  EXPECT_EQ(ChooseDraftCount({{0.8}, 0, 3, 64}, target, drafter), 3);
  // A draft that is hardly ever right is not worth its step.
  EXPECT_EQ(ChooseDraftCount({{0.05}, 0, 3, 64}, target, drafter), 0);
}

// Given steps whose time grows with their rows, expect no drafts.
TEST(DraftPolicyTest, DraftsNothingWhereEachRowCosts) {
  StepCosts target, drafter;
  for (int rows = 1; rows <= 128; ++rows) target.Add(rows, 0.1 * rows);
  drafter.Add(32, 0.1);
  EXPECT_EQ(ChooseDraftCount({std::vector<double>(32, 0.9), 0, 3, 96}, target, drafter), 0);
}

// Given a load that grows, expect fewer drafts or none at each size.
TEST(DraftPolicyTest, LoadTurnsDraftingOff) {
  StepCosts target, drafter;
  // Bound by memory up to 16 rows, by arithmetic from there.
  for (int rows = 1; rows <= 256; ++rows) {
    target.Add(rows, std::max(1.0, rows / 16.0));
    drafter.Add(rows, 0.05 * std::max(1.0, rows / 16.0));
  }
  int before = 4;
  for (const int sequences : {1, 2, 4, 8, 16, 32, 64}) {
    const int count =
        ChooseDraftCount({std::vector<double>(sequences, 0.8), 0, 4, 256}, target, drafter);
    EXPECT_LE(count, before) << sequences << " sequences";
    before = count;
  }
  EXPECT_EQ(before, 0);
}

TEST(DraftPolicyTest, NeverMoreRowsThanTheStepHas) {
  EXPECT_EQ(ChooseDraftCount({std::vector<double>(8, 0.9), 0, 4, 20}, {}, {}), 2);
  EXPECT_EQ(ChooseDraftCount({std::vector<double>(8, 0.9), 0, 4, 7}, {}, {}), 0);
  EXPECT_EQ(ChooseDraftCount({{}, 0, 4, 64}, {}, {}), 0);
}

// Given nothing measured of a size, expect it to be thought as cheap as the next smaller, so that
// it is tried; and one bad measurement to be forgotten.
TEST(StepCostsTest, UnknownSizesAreTried) {
  StepCosts costs;
  EXPECT_EQ(costs.Estimate(4), 0);
  costs.Add(2, 1.0);
  EXPECT_EQ(costs.Estimate(1), 1.0);
  EXPECT_EQ(costs.Estimate(8), 1.0);
  costs.Add(6, 3.0);
  EXPECT_DOUBLE_EQ(costs.Estimate(4), 2.0);
  costs.Add(8, 100.0);
  EXPECT_EQ(costs.Estimate(8), 100.0);
  for (int i = 0; i < 500; ++i) {
    costs.Add(2, 1.0);
    costs.Add(6, 3.0);
  }
  EXPECT_EQ(costs.Estimate(8), 3.0);
}

// Given drafts accepted with a fixed likelihood, expect the share to come near it, and to drift
// back to the usual one while nothing is drafted.
TEST(DraftAcceptanceTest, FollowsWhatHappens) {
  std::mt19937 random(7);
  for (const double likelihood : {0.1, 0.5, 0.9}) {
    DraftAcceptance acceptance;
    double sum = 0;
    for (int step = 0; step < 2000; ++step) {
      int accepted = 0;
      while (accepted < 3 && std::uniform_real_distribution<>()(random) < likelihood) ++accepted;
      acceptance.Add(3, accepted);
      if (step >= 1000) sum += acceptance.share() / 1000;
    }
    EXPECT_NEAR(sum, likelihood, 0.05);
    for (int step = 0; step < 1000; ++step) acceptance.Skip();
    EXPECT_NEAR(acceptance.share(), 0.7, 0.05);
  }
}

}  // namespace
}  // namespace facet
