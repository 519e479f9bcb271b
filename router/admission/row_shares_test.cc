#include "router/admission/row_shares.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace facet {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

TEST(RowSharesTest, WhoWaitsBelowItsShareMayClaimTheRest) {
  EXPECT_THAT(RowsToClaim(8, {{"flood", {1, 8, true}}, {"other", {1, 1, true}}}),
              ElementsAre(Pair("other", 3)));
  EXPECT_THAT(RowsToClaim(8, {{"flood", {1, 8, true}}, {"heavy", {3, 0, true}}}),
              ElementsAre(Pair("heavy", 6)));
}

TEST(RowSharesTest, WhoHasItsShareOrDoesNotWaitClaimsNothing) {
  EXPECT_THAT(RowsToClaim(8, {{"a", {1, 4, true}}, {"b", {1, 4, true}}}), IsEmpty());
  EXPECT_THAT(RowsToClaim(8, {{"a", {1, 8, true}}, {"b", {1, 0, false}}}), IsEmpty());
  EXPECT_THAT(RowsToClaim(8, {{"alone", {1, 2, true}}}), IsEmpty());
  EXPECT_THAT(RowsToClaim(8, {}), IsEmpty());
}

// Given more tenants than rows, expect that nobody is interrupted for less than a row.
TEST(RowSharesTest, AShareBelowARowIsNone) {
  EXPECT_THAT(RowsToClaim(2, {{"a", {1, 2, true}}, {"b", {1, 0, true}}, {"c", {1, 0, true}}}),
              IsEmpty());
}

TEST(RowSharesTest, CountsAnswersByTenant) {
  RowShares shares;
  shares.Begin("a", 2);
  shares.Begin("a", 2);
  shares.Begin("b", 1);
  EXPECT_EQ(shares.uses().at("a").rows, 2);
  EXPECT_EQ(shares.uses().at("a").weight, 2);
  shares.End("b");
  EXPECT_EQ(shares.uses().count("b"), 0u);
  shares.End("a");
  EXPECT_EQ(shares.uses().at("a").rows, 1);
}

}  // namespace
}  // namespace facet
