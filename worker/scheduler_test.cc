#include "worker/scheduler.h"

#include <algorithm>
#include <random>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/device.h"

namespace facet {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

SchedulerSequence Running(int computed_len, int token_count) {
  const int32_t pages = (computed_len + kPageTokens - 1) / kPageTokens;
  return {.computed_len = computed_len,
          .token_count = token_count,
          .running = true,
          .full_pages = pages,
          .sliding_pages = pages,
          .held_pages = pages};
}
SchedulerSequence Waiting(int token_count) { return {0, token_count}; }

// (sequence, tokens) of each run.
std::vector<std::pair<int, int>> Runs(const StepPlan& plan) {
  std::vector<std::pair<int, int>> runs;
  for (const StepPlan::Run& run : plan.runs) runs.emplace_back(run.sequence, run.tokens);
  return runs;
}

// Given decodes and a long prompt, expect all decodes and a chunk of what the step has left.
TEST(SchedulerTest, DecodesGoFirstAndPrefillFillsTheStep) {
  const StepPlan plan =
      PlanStep({{Running(10, 11), Running(64, 500), Running(70, 71)}, 100, 100}, {64, 8});
  EXPECT_THAT(Runs(plan), ElementsAre(std::pair(0, 1), std::pair(2, 1), std::pair(1, 62)));
  EXPECT_THAT(plan.preempted, IsEmpty());
}

// Given a limit for prompts, expect it kept over all of them.
TEST(SchedulerTest, PromptsKeepTheirLimit) {
  const SchedulerLimits limits = {
      .step_tokens_max = 512, .running_requests_max = 8, .prefill_tokens_max = 100};
  const StepPlan plan =
      PlanStep({{Running(10, 11), Running(0, 70), Running(0, 500)}, 100, 100}, limits);
  EXPECT_THAT(Runs(plan), ElementsAre(std::pair(0, 1), std::pair(1, 70), std::pair(2, 30)));
}

// Given a prompt of which all rows are outputs, expect a chunk for which there are output rows: the
// decode and its drafts have theirs first, and what comes later gets none.
TEST(SchedulerTest, OutputRowsLimitThoseThatScore) {
  SchedulerSequence scored = Running(64, 500), decode = Running(10, 11);
  scored.all_outputs = true;
  decode.drafts = 3;
  const SchedulerLimits limits = {.step_tokens_max = 512,
                                  .running_requests_max = 8,
                                  .draft_rows_max = 4,
                                  .output_rows_max = 12};
  const StepPlan plan = PlanStep({{decode, scored, Running(0, 70)}, 100, 100}, limits);
  EXPECT_THAT(Runs(plan), ElementsAre(std::pair(0, 4), std::pair(1, 8)));
  SchedulerSequence admitted = Waiting(500);
  admitted.all_outputs = true;
  EXPECT_THAT(Runs(PlanStep({{Running(0, 70), admitted}, 100, 100}, limits)),
              ElementsAre(std::pair(0, 70), std::pair(1, 11)));
}

// Given waiting requests, expect them admitted in order while pages for all their tokens are free.
TEST(SchedulerTest, AdmitsWhileWholePromptsFit) {
  const StepPlan plan = PlanStep({{Waiting(64), Waiting(129), Waiting(64)}, 3, 10}, {512, 8});
  // The second needs three pages; the third does not overtake it.
  EXPECT_THAT(Runs(plan), ElementsAre(std::pair(0, 64)));
}

// Given the most requests running, expect no admission.
TEST(SchedulerTest, RespectsTheRunningLimit) {
  const StepPlan plan = PlanStep({{Running(5, 6), Waiting(3)}, 100, 100}, {512, 1});
  EXPECT_THAT(Runs(plan), ElementsAre(std::pair(0, 1)));
}

// Given no page for the first decode, expect the last admitted to give its pages back.
TEST(SchedulerTest, PreemptsTheLastAdmitted) {
  const StepPlan plan =
      PlanStep({{Running(64, 65), Running(30, 31), Running(100, 300), Waiting(5)}, 0, 0}, {512, 8});
  EXPECT_THAT(plan.preempted, ElementsAre(2));
  EXPECT_THAT(Runs(plan), ElementsAre(std::pair(0, 1), std::pair(1, 1)));
}

// Given a prefill and a few free pages, expect a chunk that ends where the pages do.
TEST(SchedulerTest, PrefillStopsWherePagesEnd) {
  const StepPlan plan = PlanStep({{Running(10, 1000)}, 2, 50}, {512, 8});
  EXPECT_THAT(Runs(plan), ElementsAre(std::pair(0, 64 * 3 - 10)));
}

// Given decodes with drafts, expect the drafts after all decodes have their token, as far as the
// step's tokens, the rows for drafts and the free pages go.
TEST(SchedulerTest, DraftsFollowTheirDecode) {
  const auto drafting = [](int computed_len, int drafts) {
    SchedulerSequence sequence = Running(computed_len, computed_len + 1);
    sequence.drafts = drafts;
    return sequence;
  };
  const SchedulerSnapshot snapshot = {{drafting(10, 3), drafting(20, 3)}, 100, 100};
  EXPECT_THAT(Runs(PlanStep(snapshot, {512, 8, 16})),
              ElementsAre(std::pair(0, 4), std::pair(1, 4)));
  EXPECT_THAT(Runs(PlanStep(snapshot, {512, 8, 4})), ElementsAre(std::pair(0, 4), std::pair(1, 2)));
  EXPECT_THAT(Runs(PlanStep(snapshot, {3, 8, 16})), ElementsAre(std::pair(0, 2), std::pair(1, 1)));
  // Position 62 is the last but one of a page, and no other page is free.
  EXPECT_THAT(Runs(PlanStep({{drafting(62, 3)}, 0, 0}, {512, 8, 16})),
              ElementsAre(std::pair(0, 2)));
}

// Given a waiting request of higher priority than some that run, expect the last of these to make
// room for it; of equal priority, expect it to wait.
TEST(SchedulerTest, PriorityPreemptsTheLower) {
  SchedulerSnapshot snapshot = {{Running(64, 65), Running(100, 101), Waiting(64)}, 3, 3};
  snapshot.sequences[0].priority = 1;
  EXPECT_THAT(PlanStep(snapshot, {512, 2}).preempted, IsEmpty());
  snapshot.sequences[2].priority = 1;
  const StepPlan plan = PlanStep(snapshot, {512, 2});
  EXPECT_THAT(plan.preempted, ElementsAre(1));
  EXPECT_THAT(Runs(plan), ElementsAre(std::pair(0, 1)));
  // In the next step there is room for it.
  const SchedulerSnapshot next = {{snapshot.sequences[0], snapshot.sequences[2]}, 5, 5};
  EXPECT_THAT(Runs(PlanStep(next, {512, 2})), ElementsAre(std::pair(0, 1), std::pair(1, 64)));
  // Nobody is preempted for a request that would not fit even then.
  snapshot.sequences[2].token_count = 64 * 20;
  EXPECT_THAT(PlanStep(snapshot, {512, 2}).preempted, IsEmpty());
}

// Given a prompt with an image, expect no chunk to end inside it: the chunk before it ends at its
// beginning, and the image goes in one step, also if that takes more than a step's tokens.
TEST(SchedulerTest, ImagesAreNotCut) {
  const std::vector<TokenSpan> images = {{100, 300}};
  const auto prompt = [&](int computed_len) {
    SchedulerSequence sequence = Running(computed_len, 500);
    sequence.images = images;
    return sequence;
  };
  const SchedulerLimits limits = {
      .step_tokens_max = 128, .running_requests_max = 8, .rows_max = 256};
  EXPECT_THAT(Runs(PlanStep({{prompt(0)}, 100, 100}, limits)), ElementsAre(std::pair(0, 100)));
  EXPECT_THAT(Runs(PlanStep({{prompt(100), Running(5, 6)}, 100, 100}, limits)),
              ElementsAre(std::pair(1, 1), std::pair(0, 200)));
  // A cached prefix may end inside an image.
  EXPECT_THAT(Runs(PlanStep({{prompt(128)}, 100, 100}, limits)), ElementsAre(std::pair(0, 172)));
  EXPECT_THAT(Runs(PlanStep({{prompt(300)}, 100, 100}, limits)), ElementsAre(std::pair(0, 128)));
  // A prompt before it has taken tokens that the image would need; it waits for the next step.
  EXPECT_THAT(Runs(PlanStep({{Running(0, 90), prompt(100)}, 100, 100}, limits)),
              ElementsAre(std::pair(0, 90)));
  // Without pages for the whole image, another sequence makes room for it.
  const StepPlan plan = PlanStep({{prompt(100), Running(128, 400)}, 2, 2}, limits);
  EXPECT_THAT(plan.preempted, ElementsAre(1));
  EXPECT_THAT(Runs(plan), ElementsAre(std::pair(0, 200)));
}

TEST(SchedulerTest, PrecedesByPriorityThenDeadlineThenArrival) {
  const absl::Duration never = absl::InfiniteDuration();
  const Standing plain = {0, absl::Seconds(1), never};
  EXPECT_TRUE(Precedes({1, absl::ZeroDuration(), never}, plain));
  EXPECT_TRUE(Precedes({0, absl::ZeroDuration(), absl::Seconds(5)}, plain));
  EXPECT_TRUE(Precedes({0, absl::Seconds(2), never}, plain));
  EXPECT_FALSE(Precedes(plain, plain));
  // Two minutes of waiting weigh more than three of priority: nobody starves.
  EXPECT_TRUE(Precedes({0, absl::Minutes(2), never}, {3, absl::Seconds(1), absl::Seconds(1)}));
}

// Given 20,000 random snapshots (seed 3), expect that plans keep within tokens and pages, run no
// sequence twice, and always do something when there is something to do.
TEST(SchedulerTest, PlansKeepTheBounds) {
  std::mt19937 random(3);
  for (int round = 0; round < 20000; ++round) {
    SchedulerSnapshot snapshot;
    const int running = random() % 6, waiting = random() % 4;
    for (int i = 0; i < running; ++i) {
      const int computed = random() % 300;
      snapshot.sequences.push_back(
          Running(computed, computed + 1 + random() % (random() % 2 ? 1 : 300)));
      snapshot.sequences.back().drafts = random() % 4;
    }
    for (int i = 0; i < waiting; ++i) snapshot.sequences.push_back(Waiting(1 + random() % 400));
    for (SchedulerSequence& sequence : snapshot.sequences) sequence.priority = random() % 3;
    snapshot.full_free = random() % 12;
    snapshot.sliding_free = random() % 12;
    const SchedulerLimits limits = {1 + static_cast<int>(random() % 200),
                                    1 + static_cast<int>(random() % 6),
                                    static_cast<int>(random() % 8)};
    const StepPlan plan = PlanStep(snapshot, limits);
    int tokens = 0, draft_rows = 0, full = snapshot.full_free, sliding = snapshot.sliding_free;
    std::vector<int> seen;
    for (const int victim : plan.preempted) {
      EXPECT_TRUE(snapshot.sequences[victim].running);
      full += snapshot.sequences[victim].full_pages;
      sliding += snapshot.sequences[victim].sliding_pages;
      seen.push_back(victim);
    }
    for (const StepPlan::Run& run : plan.runs) {
      const SchedulerSequence& sequence = snapshot.sequences[run.sequence];
      EXPECT_GE(run.tokens, 1);
      const int drafts = sequence.computed_len + run.tokens - sequence.token_count;
      EXPECT_LE(drafts, sequence.token_count == sequence.computed_len + 1 ? sequence.drafts : 0);
      draft_rows += std::max(0, drafts);
      const auto pages = [](int n) { return (n + kPageTokens - 1) / kPageTokens; };
      full -= pages(sequence.computed_len + run.tokens) - pages(sequence.computed_len);
      sliding -= pages(sequence.computed_len + run.tokens) - pages(sequence.computed_len);
      tokens += run.tokens;
      EXPECT_EQ(std::count(seen.begin(), seen.end(), run.sequence), 0) << "round " << round;
      seen.push_back(run.sequence);
    }
    EXPECT_LE(tokens, limits.step_tokens_max);
    EXPECT_LE(draft_rows, limits.draft_rows_max);
    EXPECT_GE(full, 0) << "round " << round;
    EXPECT_GE(sliding, 0) << "round " << round;
    if (running > 0 && snapshot.full_free + snapshot.sliding_free >= 2 && snapshot.full_free > 0 &&
        snapshot.sliding_free > 0) {
      EXPECT_FALSE(plan.runs.empty() && plan.preempted.empty()) << "round " << round;
    }
  }
}

}  // namespace
}  // namespace facet
