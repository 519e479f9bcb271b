#include "router/cluster/placement.h"

#include <set>
#include <vector>

#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace facet {
namespace {

using ::facet::testing::StatusIs;
using ::testing::_;
using ::testing::HasSubstr;

WorkerSnapshot Ready(uint32_t running) {
  WorkerSnapshot worker;
  worker.ready = true;
  worker.running = running;
  return worker;
}

// A worker that computes 1,000 tokens a second, and takes 10 ms for a step and 1 ms for each
// further row.
WorkerSnapshot Measured(uint32_t running, uint32_t cached_tokens = 0) {
  WorkerSnapshot worker = Ready(running);
  worker.prefill_tokens_per_s = 1000;
  worker.decode_step_s = 0.010;
  worker.decode_row_s = 0.001;
  worker.cached_tokens = cached_tokens;
  return worker;
}

// The same, of one class, that pulls at 100 MB/s pages of 1 MB, and 2 MB of the sliding layers.
WorkerSnapshot Pulling(uint32_t running, uint32_t held_tokens = 0) {
  WorkerSnapshot worker = Measured(running, held_tokens);
  worker.held_tokens = held_tokens;
  worker.numerics_class = 7;
  worker.full_page_bytes = 1'000'000;
  worker.sliding_page_bytes = 2'000'000;
  worker.peer_bytes_per_s = 1e8;
  return worker;
}
// Wishes of a prompt of 2,000 tokens, with windows of 4 pages.
PlacementWish LongWish(double answer_tokens = 0) {
  return {
      .prompt_tokens = 2000, .answer_tokens = answer_tokens, .page_tokens = 64, .window_pages = 4};
}

std::vector<WorkerSnapshot> WithDigests(std::vector<WorkerSnapshot> workers) {
  for (size_t i = 0; i < workers.size(); ++i) workers[i].address_digest = 1000 + i;
  return workers;
}

int Chosen(const std::vector<WorkerSnapshot>& workers, const PlacementWish& wish = {}) {
  const auto placement = Place(workers, wish);
  return placement.ok() ? placement->worker : -1;
}

// Given workers that have measured nothing, expect the least loaded.
TEST(PlacementTest, TakesTheLeastLoaded) { EXPECT_EQ(Chosen({Ready(3), Ready(1), Ready(2)}), 1); }

// Given equal workers, expect that prompts spread over them, and that the choice hangs on prompt
// and addresses alone, not on the order of the workers.
TEST(PlacementTest, SpreadsEqualsByTheirPrompts) {
  const std::vector<WorkerSnapshot> workers = WithDigests({Ready(1), Ready(1), Ready(1)});
  const std::vector<WorkerSnapshot> reversed(workers.rbegin(), workers.rend());
  std::vector<int> counts(3);
  for (uint64_t affinity = 0; affinity < 3000; ++affinity) {
    const PlacementWish wish = {.affinity = affinity};
    const int chosen = Chosen(workers, wish);
    EXPECT_EQ(Chosen(reversed, wish), 2 - chosen);
    ++counts[chosen];
  }
  for (const int count : counts) EXPECT_NEAR(count, 1000, 150);
}

// Given a wish for a class, expect its least loaded worker; if they are full, to wait for one; and
// only if none is left one of another class, marked, or none at all where that is not wanted.
TEST(PlacementTest, KeepsToTheNumericsClass) {
  std::vector<WorkerSnapshot> workers = {Ready(0), Ready(5), Ready(4)};
  workers[0].numerics_class = 7;
  workers[1].numerics_class = workers[2].numerics_class = 8;
  const PlacementWish wish = {.numerics_class = 8};
  ASSERT_OK_AND_ASSIGN(Placement placement, Place(workers, wish));
  EXPECT_EQ(placement.worker, 2);
  EXPECT_TRUE(placement.exact);
  workers[1].capacity = workers[2].capacity = 4;
  EXPECT_THAT(Place(workers, wish), StatusIs(absl::StatusCode::kResourceExhausted, _));
  workers[1].ready = workers[2].ready = false;
  ASSERT_OK_AND_ASSIGN(placement, Place(workers, wish));
  EXPECT_EQ(placement.worker, 0);
  EXPECT_FALSE(placement.exact);
  EXPECT_THAT(Place(workers, {.numerics_class = 8, .may_change_class = false}),
              StatusIs(absl::StatusCode::kUnavailable, _));
}

// Given waiting requests, or ones that the worker has not reported yet, expect them to count; but
// what ended before it was reported does not.
TEST(PlacementTest, CountsWaitingAndUnreported) {
  auto waiting = Ready(0), unreported = Ready(0), ended = Ready(0);
  waiting.waiting = 5;
  unreported.started_since_report = unreported.in_flight = 4;
  ended.started_since_report = 9;
  EXPECT_EQ(Chosen({waiting, unreported, Ready(3)}), 2);
  EXPECT_EQ(Chosen({waiting, unreported, Ready(6)}), 1);
  EXPECT_EQ(Chosen({waiting, unreported, ended}), 2);
}

// Given a report that does not yet hold what we started, expect that it counts all the same.
TEST(PlacementTest, NeverCountsLessThanItStarted) {
  auto stale = Ready(1);
  stale.in_flight = 5;
  EXPECT_EQ(Chosen({stale, Ready(4)}), 1);
  EXPECT_EQ(Chosen({stale, Ready(6)}), 0);
}

// Given a prompt of 2,000 tokens that one worker has, expect it there, also where that one is
// somewhat busier; and elsewhere once what runs there costs more than computing anew.
TEST(PlacementTest, GoesWhereThePrefixIsUntilThatIsTooBusy) {
  const PlacementWish wish = {.prompt_tokens = 2000, .answer_tokens = 100};
  EXPECT_EQ(Chosen({Measured(0), Measured(0, 1984)}, wish), 1);
  EXPECT_EQ(Chosen({Measured(0), Measured(5, 1984)}, wish), 1);
  // 2 s of computing, which cost others 2 s, against 0.2 s for each request beside it.
  EXPECT_EQ(Chosen({Measured(0), Measured(25, 1984)}, wish), 0);
  // Of short answers more fit.
  EXPECT_EQ(Chosen({Measured(0), Measured(25, 1984)}, {.prompt_tokens = 2000, .answer_tokens = 10}),
            1);
}

// Given a worker that has the prefix, expect another to count on pulling the pages that it lacks:
// 31 full ones and a window, 39 MB at 100 MB/s.
TEST(PlacementTest, CountsThePull) {
  const std::vector<PlacementEstimate> estimates =
      EstimateAll({Pulling(0), Pulling(0, 31 * 64), Pulling(0, 10 * 64)}, LongWish());
  EXPECT_EQ(estimates[0].source, 1);
  EXPECT_EQ(estimates[0].pulled_tokens, 31u * 64);
  EXPECT_EQ(estimates[0].computed_tokens, 2000u - 31 * 64);
  EXPECT_NEAR(estimates[0].pull_s, 0.39, 1e-9);
  EXPECT_NEAR(estimates[0].first_token_s, 0.39 + 0.016 + 0.010, 1e-9);
  EXPECT_NEAR(estimates[0].cost_s, 0.39 + 2 * 0.016 + 0.010 + 1.984, 1e-9);
  EXPECT_EQ(estimates[1].source, -1);
  EXPECT_EQ(estimates[2].source, 1);
  EXPECT_EQ(estimates[2].pulled_tokens, 21u * 64);
  EXPECT_NEAR(estimates[2].pull_s, 0.29, 1e-9);
}

// Given an owner that is idle, expect the prompt there, and no copy; given that it is busy, expect
// another that pulls, and given that all are busy, the owner again.
TEST(PlacementTest, PullsWhereTheOwnerIsBusy) {
  EXPECT_EQ(Chosen({Pulling(0), Pulling(0, 31 * 64)}, LongWish(100)), 1);
  EXPECT_EQ(Chosen({Pulling(0), Pulling(4, 31 * 64)}, LongWish(100)), 1);
  EXPECT_EQ(Chosen({Pulling(0), Pulling(14, 31 * 64)}, LongWish(100)), 0);
  EXPECT_EQ(Chosen({Pulling(14), Pulling(14, 31 * 64)}, LongWish(100)), 1);
  // Without pulling, computing anew is worth it later.
  std::vector<WorkerSnapshot> workers = {Pulling(0), Pulling(14, 31 * 64)};
  workers[0].full_page_bytes = 0;
  EXPECT_EQ(Chosen(workers, LongWish(100)), 1);
}

// Given a pull of next to no time, expect the owner all the same while it is as good, however
// prompts spread: a copy takes memory.
TEST(PlacementTest, CopiesNothingForNothing) {
  std::vector<WorkerSnapshot> workers = WithDigests({Pulling(0), Pulling(1, 31 * 64), Pulling(0)});
  for (WorkerSnapshot& worker : workers) worker.peer_bytes_per_s = 1e12;
  workers[1].decode_row_s = 0;
  for (uint64_t affinity = 0; affinity < 50; ++affinity) {
    PlacementWish wish = LongWish();
    wish.affinity = affinity;
    EXPECT_EQ(Chosen(workers, wish), 1);
  }
}

// Given what cannot be pulled, or not sooner than computed, expect it not to be counted on.
TEST(PlacementTest, PullsOnlyWhatItCan) {
  const auto source_of = [](const WorkerSnapshot& puller, const WorkerSnapshot& owner,
                            const PlacementWish& wish = LongWish()) {
    return EstimateAll({puller, owner}, wish)[0].source;
  };
  const WorkerSnapshot puller = Pulling(0), owner = Pulling(0, 31 * 64);
  EXPECT_EQ(source_of(puller, owner), 1);
  WorkerSnapshot other_class = owner, gone = owner, computing = owner, slow = puller;
  other_class.numerics_class = 8;
  EXPECT_EQ(source_of(puller, other_class), -1);
  gone.ready = false;
  EXPECT_EQ(source_of(puller, gone), -1);
  computing.held_tokens = 0;  // What it is to compute is not there yet.
  EXPECT_EQ(source_of(puller, computing), -1);
  slow.peer_bytes_per_s = 1e7;
  EXPECT_EQ(source_of(slow, owner), -1);
  EXPECT_EQ(source_of(puller, owner, {.prompt_tokens = 2000}), -1);
  // Not measured counts as the others, or as a usual network.
  slow.peer_bytes_per_s = 0;
  EXPECT_EQ(source_of(slow, owner), 1);
  // One that is draining still gives.
  WorkerSnapshot draining = owner;
  draining.draining = true;
  EXPECT_EQ(source_of(puller, draining), 1);
}

// Given a queue of prompts where the prefix is, expect it to be weighed against computing anew.
TEST(PlacementTest, WeighsTheQueueAgainstTheCache) {
  const PlacementWish wish = {.prompt_tokens = 2000};
  WorkerSnapshot owner = Measured(0, 1984);
  owner.prefill_tokens_waiting = 3500;
  EXPECT_EQ(Chosen({Measured(0), owner}, wish), 1);
  owner.prefill_tokens_waiting = 4500;
  EXPECT_EQ(Chosen({Measured(0), owner}, wish), 0);
  // What this router sent since the report counts as well.
  owner.prefill_tokens_waiting = 0;
  owner.prefill_tokens_since_report = owner.prefill_tokens_in_flight = 4500;
  EXPECT_EQ(Chosen({Measured(0), owner}, wish), 0);
  owner.prefill_tokens_in_flight = 100;  // The rest has been answered already.
  EXPECT_EQ(Chosen({Measured(0), owner}, wish), 1);
}

// Given a fast and a slow worker, expect long prompts at the fast one until its queue makes up for
// it; a worker that has measured nothing counts as the others.
TEST(PlacementTest, KnowsFastWorkers) {
  WorkerSnapshot fast = Measured(0), slow = Measured(0);
  fast.prefill_tokens_per_s = 4000;
  const PlacementWish wish = {.prompt_tokens = 4000};
  EXPECT_EQ(Chosen({slow, fast}, wish), 1);
  fast.prefill_tokens_waiting = 30'000;
  EXPECT_EQ(Chosen({slow, fast}, wish), 0);
  EXPECT_EQ(Chosen({Ready(0), slow}, wish), 0);
}

// Given small differences of what was measured, expect them not to decide: prompts go on spreading.
TEST(PlacementTest, SmallDifferencesDoNotDecide) {
  std::vector<WorkerSnapshot> workers = WithDigests({Measured(0), Measured(0)});
  workers[0].prefill_tokens_per_s = 1050;
  std::set<int> chosen;
  for (uint64_t affinity = 0; affinity < 50; ++affinity) {
    chosen.insert(Chosen(workers, {.prompt_tokens = 1000, .affinity = affinity}));
  }
  EXPECT_EQ(chosen.size(), 2u);
}

// Given workers that are not fit, expect them passed over.
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

// Given a worker of eight rows, expect room for two more than run; given a prompt that waits there,
// expect none beyond what it computes until it has told of it; given no news of its limits, expect
// no bound.
TEST(PlacementTest, RoomIsOneStepsWorth) {
  WorkerSnapshot worker = Ready(8);
  worker.running_max = 8;
  worker.capacity = 100;
  EXPECT_EQ(RoomAt(worker).requests, 2);
  EXPECT_EQ(RoomAt(worker).prompt_tokens, 2048);
  worker.in_flight = 20;
  EXPECT_EQ(RoomAt(worker).requests, -10);
  EXPECT_FALSE(RoomAt(worker).any());
  worker.in_flight = 8;
  worker.capacity = 9;
  EXPECT_EQ(RoomAt(worker).requests, 1);
  worker.prefill_tokens_waiting = 600;
  EXPECT_TRUE(RoomAt(worker).any());
  worker.prefill_tokens_per_s = 100;
  EXPECT_EQ(RoomAt(worker).prompt_tokens, 512 - 600);
  EXPECT_FALSE(RoomAt(worker).any());
  worker.prefill_tokens_per_s = 20'000;
  EXPECT_EQ(RoomAt(worker).prompt_tokens, 2000 - 600);
  EXPECT_TRUE(RoomAt(Ready(1'000'000)).any());
  // What a report may have is counted once, what it lacks is counted too.
  WorkerSnapshot told = Ready(1);
  told.running_max = 1;
  told.in_flight = told.started_since_report = 1;
  EXPECT_EQ(RoomAt(told).requests, 1);
  told.in_flight = told.started_since_report = 2;
  told.started_after_report = 1;
  EXPECT_EQ(RoomAt(told).requests, 0);
}

// Given a placement, expect that it says in numbers why.
TEST(PlacementTest, ExplainsItself) {
  const std::vector<WorkerSnapshot> workers = {Measured(3, 128)};
  ASSERT_OK_AND_ASSIGN(const Placement placement, Place(workers, {.prompt_tokens = 228}));
  EXPECT_THAT(Explain(workers[0], placement.estimate),
              HasSubstr("cached=128 computed=100 queued=0 requests=3 first_token_ms=113.0"));
  std::vector<WorkerSnapshot> pulling = {Pulling(0, 64), Pulling(99, 31 * 64)};
  pulling[1].address = "owner:9381";
  ASSERT_OK_AND_ASSIGN(const Placement pulled, Place(pulling, LongWish(100)));
  EXPECT_EQ(pulled.worker, 0);
  EXPECT_THAT(
      Explain(pulling[0], pulled.estimate),
      HasSubstr("cached=64 pulled=1920 from=owner:9381 pull_ms=380.0 computed=16 queued=0"));
}

}  // namespace
}  // namespace facet
