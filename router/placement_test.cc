#include "router/placement.h"

#include <memory>
#include <string>
#include <vector>

#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace facet {
namespace {

using ::facet::testing::StatusIs;
using ::testing::_;

WorkerSnapshot Ready(uint32_t running) {
  WorkerSnapshot worker;
  worker.ready = true;
  worker.running = running;
  return worker;
}

int Chosen(const std::vector<WorkerSnapshot>& workers) {
  const auto placement = Place(workers);
  return placement.ok() ? placement->worker : -1;
}

// Given different loads, expect the least; given equal ones, the first.
TEST(PlacementTest, TakesTheLeastLoaded) {
  EXPECT_EQ(Chosen({Ready(3), Ready(1), Ready(2)}), 1);
  EXPECT_EQ(Chosen({Ready(2), Ready(1), Ready(1)}), 1);
}

// Given a wish for a class, expect its least loaded worker; if they are full, to wait for one; and
// only if none is left one of another class, marked, or none at all where that is not wanted.
TEST(PlacementTest, KeepsToTheNumericsClass) {
  std::vector<WorkerSnapshot> workers = {Ready(0), Ready(5), Ready(4)};
  workers[0].numerics_class = "other";
  workers[1].numerics_class = workers[2].numerics_class = "mine";
  const PlacementWish wish = {"mine", true};
  ASSERT_OK_AND_ASSIGN(Placement placement, Place(workers, wish));
  EXPECT_EQ(placement.worker, 2);
  EXPECT_TRUE(placement.exact);
  workers[1].capacity = workers[2].capacity = 4;
  EXPECT_THAT(Place(workers, wish), StatusIs(absl::StatusCode::kResourceExhausted, _));
  workers[1].ready = workers[2].ready = false;
  ASSERT_OK_AND_ASSIGN(placement, Place(workers, wish));
  EXPECT_EQ(placement.worker, 0);
  EXPECT_FALSE(placement.exact);
  EXPECT_THAT(Place(workers, {"mine", false}), StatusIs(absl::StatusCode::kUnavailable, _));
}

// Given a wish for an adapter, expect the least loaded worker that holds it, of the wished digest
// if there is one; none where nobody does, whatever the class.
TEST(PlacementTest, KeepsToTheAdapter) {
  std::vector<WorkerSnapshot> workers = {Ready(0), Ready(5), Ready(4)};
  workers[1].adapters = std::make_shared<AdapterDigests>(AdapterDigests{{"a", "old"}});
  workers[2].adapters = std::make_shared<AdapterDigests>(AdapterDigests{{"a", "new"}, {"b", ""}});
  const auto chosen = [&](const std::string& adapter, const std::string& digest) {
    PlacementWish wish;
    wish.adapter = adapter;
    wish.adapter_digest = digest;
    const auto placement = Place(workers, wish);
    return placement.ok() ? placement->worker : -1;
  };
  EXPECT_EQ(chosen("", ""), 0);
  EXPECT_EQ(chosen("a", ""), 2);
  EXPECT_EQ(chosen("a", "old"), 1);
  EXPECT_EQ(chosen("b", ""), 2);
  EXPECT_EQ(chosen("c", ""), -1);
  EXPECT_EQ(chosen("a", "other"), -1);
}

// Given waiting requests, or ones that the worker has not reported yet, expect them to count.
TEST(PlacementTest, CountsWaitingAndUnreported) {
  auto waiting = Ready(0), unreported = Ready(0);
  waiting.waiting = 5;
  unreported.started_since_report = 4;
  EXPECT_EQ(Chosen({waiting, unreported, Ready(3)}), 2);
  EXPECT_EQ(Chosen({waiting, unreported, Ready(6)}), 1);
}

// Given a report that has not seen our own requests, expect those to count.
TEST(PlacementTest, OwnRequestsAreTheLeastLoad) {
  auto own = Ready(0);
  own.in_flight = 2;
  EXPECT_EQ(Chosen({own, Ready(1)}), 1);
}

// Given workers that are draining, not ready, tried before or full, expect them to be passed over.
TEST(PlacementTest, PassesOverTheUnfit) {
  auto draining = Ready(0), tried = Ready(0), full = Ready(4);
  draining.draining = true;
  tried.excluded = true;
  full.capacity = 4;
  EXPECT_EQ(Chosen({draining, tried, full, WorkerSnapshot(), Ready(9)}), 4);
}

// Given no fit worker, expect to hear whether waiting helps.
TEST(PlacementTest, SaysWhyThereIsNone) {
  auto full = Ready(4);
  full.capacity = 4;
  EXPECT_THAT(Place({full, WorkerSnapshot()}).status(),
              StatusIs(absl::StatusCode::kResourceExhausted, _));
  EXPECT_THAT(Place({WorkerSnapshot()}).status(), StatusIs(absl::StatusCode::kUnavailable, _));
  EXPECT_THAT(Place({}).status(), StatusIs(absl::StatusCode::kUnavailable, _));
}

}  // namespace
}  // namespace facet
