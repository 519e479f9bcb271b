#include "router/cluster/stuck_workers.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace facet {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr double kLimitS = 30;

TEST(StuckWorkersTest, OneIsSilentWhileAnotherSpeaks) {
  EXPECT_THAT(StuckWorkers({{true, 31}, {true, 0.1}}, kLimitS), ElementsAre(0));
  EXPECT_THAT(StuckWorkers({{true, 29}, {true, 0.1}}, kLimitS), IsEmpty());
}

// One that has nothing to do could take what another does not get done.
TEST(StuckWorkersTest, AnIdleWorkerIsAnotherToo) {
  EXPECT_THAT(StuckWorkers({{true, 0}, {true, 31}, {true, 40}}, kLimitS), ElementsAre(1, 2));
}

// All are silent: that is the network's fault or the router's own, or there is nowhere to go.
TEST(StuckWorkersTest, NobodyIsGivenUpIfNobodySpeaks) {
  EXPECT_THAT(StuckWorkers({{true, 31}, {true, 40}}, kLimitS), IsEmpty());
  EXPECT_THAT(StuckWorkers({{true, 31}}, kLimitS), IsEmpty());
  EXPECT_THAT(StuckWorkers({{true, 31}, {false, 0}}, kLimitS), IsEmpty());
}

TEST(StuckWorkersTest, ASlowWorkerMayTakeTenOfItsSteps) {
  EXPECT_THAT(StuckWorkers({{true, 99, 10}, {true, 0.1}}, kLimitS), IsEmpty());
  EXPECT_THAT(StuckWorkers({{true, 101, 10}, {true, 0.1}}, kLimitS), ElementsAre(0));
}

}  // namespace
}  // namespace facet
