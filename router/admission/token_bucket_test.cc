#include "router/admission/token_bucket.h"

#include <gtest/gtest.h>

namespace facet {
namespace {

// Given 60 a minute, expect 60 at once, then one a second and no more.
TEST(TokenBucketTest, GivesAMinutesWorthAndThenTheRate) {
  TokenBucket bucket(60);
  for (int i = 0; i < 60; ++i) EXPECT_TRUE(bucket.Take(1, 100)) << i;
  EXPECT_FALSE(bucket.Take(1, 100));
  EXPECT_DOUBLE_EQ(bucket.SecondsUntil(1, 100), 1);
  EXPECT_DOUBLE_EQ(bucket.SecondsUntil(1, 100.25), 0.75);
  EXPECT_FALSE(bucket.Take(1, 100.99));
  EXPECT_TRUE(bucket.Take(1, 101));
  EXPECT_FALSE(bucket.Take(1, 101));
  EXPECT_DOUBLE_EQ(bucket.SecondsUntilFull(101), 60);
}

// Given an hour of silence, expect no more than a minute's worth.
TEST(TokenBucketTest, HoldsNoMoreThanAMinutesWorth) {
  TokenBucket bucket(10);
  EXPECT_TRUE(bucket.Take(10, 0));
  EXPECT_DOUBLE_EQ(bucket.Remaining(3600), 10);
  EXPECT_DOUBLE_EQ(bucket.SecondsUntilFull(3600), 0);
}

// Given one that asks for more than the limit, expect it served from a full bucket alone, and the
// others to wait until it is paid off.
TEST(TokenBucketTest, AMoreThanFullRequestIsPaidOff) {
  TokenBucket bucket(100);
  EXPECT_TRUE(bucket.Take(250, 0));
  EXPECT_DOUBLE_EQ(bucket.Remaining(0), 0);
  EXPECT_FALSE(bucket.Take(1, 90));
  EXPECT_DOUBLE_EQ(bucket.SecondsUntil(10, 90), 6);
  EXPECT_TRUE(bucket.Take(10, 96));
  EXPECT_FALSE(bucket.Take(250, 96));
}

// Given a request that used less or more than was taken, expect the difference to count.
TEST(TokenBucketTest, IsSettled) {
  TokenBucket bucket(100);
  EXPECT_TRUE(bucket.Take(100, 0));
  bucket.Charge(-40, 0);
  EXPECT_DOUBLE_EQ(bucket.Remaining(0), 40);
  bucket.Charge(90, 0);
  EXPECT_DOUBLE_EQ(bucket.Remaining(0), 0);
  EXPECT_DOUBLE_EQ(bucket.SecondsUntil(50, 0), 60);
  bucket.Charge(-1000, 0);
  EXPECT_DOUBLE_EQ(bucket.Remaining(0), 100);
}

// Given another limit, expect what was taken to stay taken; given none, expect all to pass.
TEST(TokenBucketTest, TheLimitMayChange) {
  TokenBucket bucket(100);
  EXPECT_TRUE(bucket.Take(30, 0));
  bucket.SetLimit(50, 0);
  EXPECT_DOUBLE_EQ(bucket.Remaining(0), 20);
  bucket.SetLimit(0, 0);
  EXPECT_FALSE(bucket.limited());
  for (int i = 0; i < 1000; ++i) EXPECT_TRUE(bucket.Take(1e6, 0));
}

// Given a clock that goes back, expect nothing to be given twice.
TEST(TokenBucketTest, AClockThatGoesBackGivesNothing) {
  TokenBucket bucket(60);
  EXPECT_TRUE(bucket.Take(60, 50));
  EXPECT_FALSE(bucket.Take(1, 10));
  EXPECT_FALSE(bucket.Take(1, 50));
  EXPECT_TRUE(bucket.Take(1, 51));
}

}  // namespace
}  // namespace facet
