#include "base/check.h"

#include "gtest/gtest.h"

namespace facet {
namespace {

// Given a condition that holds, expect nothing to happen and the text not to be built.
TEST(CheckTest, PassesQuietly) {
  int built = 0;
  CHECK(true) << ++built;
  CHECK_EQ(1, 1);
  CHECK_OK(absl::OkStatus());
  EXPECT_EQ(built, 0);
}

// Given a condition that fails, expect the process to end with file, values and text.
TEST(CheckDeathTest, SaysWhatFailed) {
  EXPECT_DEATH(CHECK(1 > 2) << "extra", "check_test.cc.*1 > 2.*extra");
  EXPECT_DEATH(CHECK_EQ(1 + 1, 3), "\\(2 vs. 3\\)");
  EXPECT_DEATH(CHECK_OK(absl::NotFoundError("gone")), "gone");
}

}  // namespace
}  // namespace facet
