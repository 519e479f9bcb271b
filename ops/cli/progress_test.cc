#include "ops/cli/progress.h"

#include "gtest/gtest.h"

namespace facet {
namespace {

// Given half of the bytes, a quarter of them from an earlier run, expect rate and time of the rest.
TEST(ProgressTest, RateAndTimeRestOnThisRun) {
  EXPECT_EQ(
      DescribeProgress(Progress::Unit::kBytes, 12'000'000'000, 24'000'000'000, 6'000'000'000, 60.0),
      " 50 %  12.0 GB of 24.0 GB, 100.0 MB/s, 120 s left");
  EXPECT_EQ(DescribeProgress(Progress::Unit::kSteps, 3, 4, 3, 30.0), " 75 %  10 s left");
}

// Given nothing done yet, or all at once, expect no division by nothing.
TEST(ProgressTest, NothingYet) {
  EXPECT_EQ(DescribeProgress(Progress::Unit::kBytes, 500, 1000, 0, 5.0),
            " 50 %  0.5 kB of 1.0 kB, 0.0 kB/s, time unknown");
  EXPECT_EQ(DescribeProgress(Progress::Unit::kSteps, 0, 4, 0, 0.0), "  0 %  time unknown");
}

}  // namespace
}  // namespace facet
