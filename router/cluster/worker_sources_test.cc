#include "router/cluster/worker_sources.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace facet {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

constexpr WorkerOrigins kListed{true, false, false}, kResolved{false, true, false},
    kRegistered{false, false, true};

WantedWorkers Workers(const WorkerSources& sources) {
  size_t left_out = 0;
  WantedWorkers wanted = WorkersOf(sources, 100, &left_out);
  EXPECT_EQ(left_out, 0u);
  return wanted;
}

// Given workers of all three kinds, expect them all, each once, with all that it is known from.
TEST(WorkerSourcesTest, AreAddedUp) {
  const WorkerSources sources = {
      {"a:1", "b:1"}, {"b:1", "c:1"}, {{"b:1", {1, true}}, {"d:1", {2, false}}}};
  EXPECT_THAT(Workers(sources),
              ElementsAre(Pair("a:1", kListed), Pair("b:1", WorkerOrigins{true, true, true}),
                          Pair("c:1", kResolved), Pair("d:1", kRegistered)));
}

// Given a registered worker without a call, expect it to stay for as long as it is connected.
TEST(WorkerSourcesTest, ConnectionOutlivesTheCall) {
  EXPECT_THAT(Workers({{}, {}, {{"a:1", {0, true}}}}), ElementsAre(Pair("a:1", kRegistered)));
  EXPECT_THAT(Workers({{}, {}, {{"a:1", {0, false}}}}), ElementsAre());
  EXPECT_THAT(Workers({{"a:1"}, {}, {{"a:1", {0, false}}}}), ElementsAre(Pair("a:1", kListed)));
}

// Given more than there may be, expect the list first, then names, then those that registered, and
// the number of those left out; one of two origins counts once.
TEST(WorkerSourcesTest, IsBounded) {
  const WorkerSources sources = {
      {"z:1"}, {"y:1", "x:1"}, {{"a:1", {1, true}}, {"b:1", {1, true}}, {"z:1", {1, true}}}};
  size_t left_out = 0;
  EXPECT_THAT(WorkersOf(sources, 4, &left_out),
              ElementsAre(Pair("a:1", kRegistered), Pair("x:1", kResolved), Pair("y:1", kResolved),
                          Pair("z:1", WorkerOrigins{true, false, true})));
  EXPECT_EQ(left_out, 1u);
  EXPECT_THAT(WorkersOf(sources, 1, &left_out),
              ElementsAre(Pair("z:1", WorkerOrigins{true, false, true})));
  EXPECT_EQ(left_out, 4u);
}

}  // namespace
}  // namespace facet
