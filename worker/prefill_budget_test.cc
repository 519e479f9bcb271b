#include "worker/prefill_budget.h"

#include "gtest/gtest.h"

namespace facet {
namespace {

// Steps of one decode alone, and of 512 prompt tokens beside it.
PrefillBudget Measured(double decode_s, double prompt_token_s) {
  PrefillBudget budget;
  budget.Add(1, 0, decode_s);
  budget.Add(513, 512, decode_s + 512 * prompt_token_s);
  return budget;
}

// Given nobody who decodes, or nothing measured, expect whole steps of prompts.
TEST(PrefillBudgetTest, TakesAllWhereNobodyWaits) {
  EXPECT_EQ(Measured(1.0, 0.1).Tokens(0, 512), 512);
  PrefillBudget budget;
  EXPECT_EQ(budget.Tokens(3, 512), 512);
  budget.Add(3, 0, 1.0);
  EXPECT_EQ(budget.Tokens(3, 512), 512);
}

// Given decodes of 1.85 s beside prompts of 0.15 s a token, as a 12B model has on two old cores,
// expect a step of about eight times a decode's.
TEST(PrefillBudgetTest, BoundsThePause) {
  const int tokens = Measured(1.85, 0.15).Tokens(1, 512);
  EXPECT_NEAR(1.85 + tokens * 0.15, 8 * 1.85, 0.16);
  // Fast steps: nobody notices 50 ms.
  EXPECT_NEAR(Measured(0.001, 0.0001).Tokens(1, 512), 490, 1);
}

// Given a prompt so deep that each token costs much, expect a page a step at least.
TEST(PrefillBudgetTest, PromptsGoOn) {
  EXPECT_EQ(Measured(0.01, 1.0).Tokens(1, 512), 64);
  EXPECT_EQ(Measured(0.01, 1.0).Tokens(1, 32), 32);
}

// Given a prompt of thousands of steps, in which no decode runs alone, expect chunks that become
// shorter as it grows deep, and never longer again.
TEST(PrefillBudgetTest, LongPromptsAreBoundedToTheirEnd) {
  PrefillBudget budget = Measured(0.1, 0.0005);
  int before = budget.Tokens(1, 512);
  EXPECT_EQ(before, 512);
  for (int step = 0; step < 5000; ++step) {
    const double token_s = 0.0005 + step * 1e-5;
    budget.Add(1 + before, before, 0.1 + before * token_s);
    const int tokens = budget.Tokens(1, 512);
    ASSERT_LE(tokens, before) << "step " << step;
    before = tokens;
  }
  EXPECT_EQ(before, 64);
}

}  // namespace
}  // namespace facet
