#include "router/replicas_wanted.h"

#include <algorithm>
#include <cmath>

#include "gtest/gtest.h"

namespace facet {
namespace {

constexpr double kScrapeS = 15;

// What `wanted` says after `seconds` of this load, scraped every 15 s.
double After(ReplicasWanted& wanted, double& now_s, double seconds, ReplicasWanted::Load load) {
  double last = 0;
  for (const double end_s = now_s + seconds; now_s < end_s; now_s += kScrapeS) {
    last = wanted.Update(now_s, load);
  }
  return last;
}

// Given a steady load, expect answers by what a worker computes at four fifths of its rows.
TEST(ReplicasWantedTest, FollowsASteadyLoad) {
  ReplicasWanted wanted;
  double now_s = 0;
  EXPECT_DOUBLE_EQ(After(wanted, now_s, 60, {128, 32}), 5);
}

// Given a rise, expect most of it within a minute and nothing beyond it.
TEST(ReplicasWantedTest, RisesWithinAMinute) {
  ReplicasWanted wanted;
  double now_s = 0;
  After(wanted, now_s, 600, {64, 64});
  const double risen = After(wanted, now_s, 60, {640, 64});
  EXPECT_GT(risen, 0.8 * 12.5);
  EXPECT_LE(risen, 12.5);
}

// Given a fall, expect the same as before for five minutes, then what is left.
TEST(ReplicasWantedTest, FallsAfterFiveMinutes) {
  ReplicasWanted wanted;
  double now_s = 0;
  const double before = After(wanted, now_s, 600, {512, 64});
  EXPECT_EQ(After(wanted, now_s, 270, {0, 64}), before);
  EXPECT_LT(After(wanted, now_s, 300, {0, 64}), 0.01);
}

// Given a load that swings every minute, expect that the number of workers changes once.
TEST(ReplicasWantedTest, DoesNotSwingWithTheLoad) {
  ReplicasWanted wanted;
  double now_s = 0, least = 1e9, most = 0;
  for (int minute = 0; minute < 60; ++minute) {
    const double told = After(wanted, now_s, 60, {minute % 2 == 0 ? 64 : 512, 64});
    if (minute < 10) continue;
    least = std::min(least, std::ceil(told));
    most = std::max(most, std::ceil(told));
  }
  EXPECT_LE(most - least, 1);
}

// Given a day whose load is a wave, scraped every 15 s, expect no less than a worker short of what
// the load of that moment needs, and few changes.
TEST(ReplicasWantedTest, FollowsADaysWave) {
  ReplicasWanted wanted;
  int changes = 0;
  double told_before = -1;
  for (double now_s = 0; now_s < 86'400; now_s += kScrapeS) {
    const double wave = 0.5 - 0.5 * std::cos(now_s / 86'400 * 2 * M_PI);
    const ReplicasWanted::Load load{static_cast<int64_t>(1024 * wave), 64};
    const double told = std::ceil(wanted.Update(now_s, load));
    const double ideal = std::ceil(static_cast<double>(load.answers) / (64 * 0.8));
    EXPECT_LE(std::abs(told - ideal), 1) << now_s;
    changes += told_before >= 0 && told != told_before ? 1 : 0;
    told_before = told;
  }
  EXPECT_LE(changes, 2 * 20 + 2);
}

// Given no worker at all, expect that one is wanted as soon as somebody waits.
TEST(ReplicasWantedTest, WantsOneWorkerWhereNoneIsKnown) {
  ReplicasWanted wanted;
  double now_s = 0;
  EXPECT_EQ(After(wanted, now_s, 30, {0, 0}), 0);
  EXPECT_GT(After(wanted, now_s, 120, {10, 0}), 0.9);
}

}  // namespace
}  // namespace facet
