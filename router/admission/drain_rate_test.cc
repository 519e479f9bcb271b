#include "router/admission/drain_rate.h"

#include <gtest/gtest.h>

namespace facet {
namespace {

// Given 100 tokens each tenth of a second, expect 1,000 a second, as soon as enough is seen to
// tell.
TEST(DrainRateTest, IsTokensBySeconds) {
  DrainRate rate;
  rate.Advance(50, /*draining=*/false);
  for (int i = 1; i <= 100; ++i) {
    EXPECT_EQ(rate.tokens_per_s().has_value(), i > 6) << i;
    rate.Advance(50 + i * 0.1, /*draining=*/true);
    rate.Add(100);
  }
  EXPECT_NEAR(*rate.tokens_per_s(), 1000, 15);
}

// Given time in which nothing waited, expect it not to count; given another rate, expect that after
// a while.
TEST(DrainRateTest, ForgetsWhatWasAndCountsNoIdleTime) {
  DrainRate rate;
  for (int i = 1; i <= 100; ++i) {
    rate.Advance(i * 0.1, /*draining=*/true);
    rate.Add(100);
  }
  const double before = *rate.tokens_per_s();
  rate.Advance(5000, /*draining=*/false);
  EXPECT_DOUBLE_EQ(*rate.tokens_per_s(), before);
  for (int i = 1; i <= 1000; ++i) {
    rate.Advance(5000 + i * 0.1, /*draining=*/true);
    rate.Add(20);
  }
  EXPECT_NEAR(*rate.tokens_per_s(), 200, 10);
}

}  // namespace
}  // namespace facet
