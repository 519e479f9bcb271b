#include "worker/prefill_budget.h"

#include "gtest/gtest.h"

namespace facet {
namespace {

// Given nobody who decodes, or nothing measured, expect whole steps of prompts.
TEST(PrefillBudgetTest, TakesAllWhereNobodyWaits) {
  EXPECT_EQ(PrefillTokens({1.0, 0.1}, 0, 512), 512);
  EXPECT_EQ(PrefillTokens({0, 0}, 3, 512), 512);
  EXPECT_EQ(PrefillTokens({1.0, 0}, 3, 512), 512);
}

// Given decodes of 1.85 s beside prompts of 0.15 s a token, as a 12B model has on two old cores,
// expect a step of about eight times a decode's.
TEST(PrefillBudgetTest, BoundsThePause) {
  const int tokens = PrefillTokens({1.85, 0.15}, 1, 512);
  EXPECT_NEAR(1.85 + tokens * 0.15, 8 * 1.85, 0.15);
  // Fast steps: nobody notices 50 ms.
  EXPECT_EQ(PrefillTokens({0.001, 0.0001}, 1, 512), 490);
}

// Given a prompt so deep that each token costs much, expect a page a step at least.
TEST(PrefillBudgetTest, PromptsGoOn) {
  EXPECT_EQ(PrefillTokens({0.01, 1.0}, 1, 512), 64);
  EXPECT_EQ(PrefillTokens({0.01, 1.0}, 1, 32), 32);
}

}  // namespace
}  // namespace facet
