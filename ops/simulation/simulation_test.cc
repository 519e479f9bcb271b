#include "ops/simulation/simulation.h"

#include <algorithm>
#include <string>
#include <vector>

#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "ops/simulation/fault_schedule.h"
#include "ops/simulation/report.h"

namespace facet {
namespace {

using ::facet::testing::StatusIs;
using ::testing::HasSubstr;
using Outcome = RequestRecord::Outcome;

// 10,000 tokens of prompts a second, and steps of 10 ms.
CostTable Costs() {
  CostTable costs;
  costs.step_s = 0.010;
  costs.decode_row_s = 0.0005;
  costs.prefill_token_s = 0.0001;
  costs.message_s = 0.001;
  costs.running_requests_max = 8;
  costs.context_tokens_max = 4096;
  costs.full_pages = 256;
  costs.sliding_pages = 256;
  return costs;
}

SimulationOptions Options(int workers) {
  SimulationOptions options;
  options.costs = Costs();
  options.workers = workers;
  return options;
}

Trace Shared(int requests, double requests_per_s, double deadline_s = 0) {
  SharedPrefixOptions options;
  options.groups = 6;
  options.users = 2;
  options.prefix_tokens = 1280;
  options.question_tokens = 100;
  options.answer_tokens = 20;
  options.requests = requests;
  options.requests_per_s = requests_per_s;
  options.deadline_s = deadline_s;
  return MakeSharedPrefixTrace(options);
}

SimulationResult Played(const Trace& trace, const SimulationOptions& options) {
  const absl::StatusOr<SimulationResult> result = Simulate(trace, options, nullptr);
  EXPECT_OK(result);
  return result.value_or(SimulationResult());
}

int64_t Cached(const SimulationResult& result) {
  int64_t tokens = 0;
  for (const RequestRecord& record : result.records) tokens += record.cached_tokens;
  return tokens;
}

int Count(const SimulationResult& result, Outcome outcome) {
  int count = 0;
  for (const RequestRecord& record : result.records) count += record.outcome == outcome ? 1 : 0;
  return count;
}

// One request of 640 tokens alone: its time follows from the table by hand. The first step takes
// 512 of them and the second the rest and gives the first token; two messages go to and fro.
TEST(SimulationTest, TakesWhatTheTableSays) {
  TraceRequest request;
  request.prompt = {{7, 640}};
  request.answer_tokens = 3;
  const SimulationResult result = Played({request}, Options(1));
  const RequestRecord& record = result.records[0];
  EXPECT_EQ(record.outcome, Outcome::kFinished);
  EXPECT_EQ(record.generated_tokens, 3);
  EXPECT_NEAR(record.first_token_s, 0.002 + 0.010 + 0.0512 + 0.010 + 0.0128, 1e-6);
  ASSERT_EQ(result.pauses_s.size(), 2u);
  EXPECT_NEAR(result.pauses_s[0], 0.0105, 1e-6);
  EXPECT_NEAR(result.worker_busy_s[0], 0.084 + 2 * 0.0105, 1e-6);
}

// The same prompt again: all whole pages but the last token's are cached.
TEST(SimulationTest, FindsCachedPrefixes) {
  TraceRequest request;
  request.prompt = {{7, 640}};
  request.answer_tokens = 1;
  TraceRequest again = request;
  again.arrival_s = 5;
  const SimulationResult result = Played({request, again}, Options(1));
  EXPECT_EQ(result.records[0].cached_tokens, 0);
  EXPECT_EQ(result.records[1].cached_tokens, 576);
}

// Equal arguments, faults and several routers included: equal bytes. Another seed spreads clients
// otherwise.
TEST(SimulationTest, RepeatsItselfBitForBit) {
  const Trace trace = Shared(200, 40, /*deadline_s=*/2);
  SimulationOptions options = Options(3);
  options.routers = 2;
  ASSERT_OK_AND_ASSIGN(options.faults,
                       ParseFaults("{\"at_s\":1,\"worker\":0,\"event\":\"die\"}\n"
                                   "{\"at_s\":2,\"worker\":0,\"event\":\"return\"}\n"
                                   "{\"at_s\":3,\"worker\":1,\"event\":\"vanish\"}\n",
                                   "f", 3));
  const std::string first = ReportJson(trace, Played(trace, options));
  EXPECT_EQ(ReportJson(trace, Played(trace, options)), first);
  options.seed = 2;
  EXPECT_NE(ReportJson(trace, Played(trace, options)), first);
}

// Six prefixes over three workers that can each hold two or three of them beside what runs: ours
// computes each about once, round robin most of them everywhere.
TEST(SimulationTest, PlacesWherePrefixesAre) {
  const Trace trace = Shared(120, 10);
  SimulationOptions options = Options(3);
  options.costs.full_pages = options.costs.sliding_pages = 128;
  options.costs.running_requests_max = 4;
  const int64_t ours = Cached(Played(trace, options));
  options.policy = Policy::kRoundRobin;
  const int64_t in_turn = Cached(Played(trace, options));
  options.warm = true;
  const int64_t ideal = Cached(Played(trace, options));
  EXPECT_GE(ours, ideal * 9 / 10);
  EXPECT_LT(in_turn, ideal * 9 / 10);
  EXPECT_EQ(ideal, 120 * 1280);
}

// A worker dies in the middle: every answer is finished all the same, some on another worker.
TEST(SimulationTest, AnswersSurviveTheirWorkers) {
  const Trace trace = Shared(60, 20);
  SimulationOptions options = Options(2);
  for (const Fault::Kind kind : {Fault::Kind::kDie, Fault::Kind::kVanish}) {
    options.faults = {{.at_s = 1, .worker = 0, .kind = kind, .noticed_after_s = 0.5}};
    const SimulationResult result = Played(trace, options);
    EXPECT_EQ(Count(result, Outcome::kFinished), 60);
    int moved = 0;
    for (const RequestRecord& record : result.records) {
      EXPECT_EQ(record.generated_tokens, 20);
      moved += record.failovers > 0 ? 1 : 0;
    }
    EXPECT_GT(moved, 0);
  }
}

// Far more than they can serve, with deadlines: some are refused, each with a time to try again,
// and nobody is begun in vain.
TEST(SimulationTest, ShedsOverload) {
  const Trace trace = Shared(600, 200, /*deadline_s=*/2);
  const SimulationResult result = Played(trace, Options(2));
  EXPECT_GT(Count(result, Outcome::kRefused), 100);
  EXPECT_GT(Count(result, Outcome::kFinished), 100);
  EXPECT_EQ(Count(result, Outcome::kFailed), 0);
  for (const RequestRecord& record : result.records) {
    if (record.outcome != Outcome::kRefused) continue;
    EXPECT_GE(record.retry_after_s, 1);
    EXPECT_FALSE(record.reason.empty());
  }
}

// Three times as much as they can serve: what ends in time is hardly less than at their best, since
// what could not end in time is not begun.
TEST(SimulationTest, KeepsGoodputUnderOverload) {
  const auto finished = [](double requests_per_s) {
    const Trace trace = Shared(static_cast<int>(60 * requests_per_s), requests_per_s, 3);
    return Count(Played(trace, Options(2)), Outcome::kFinished);
  };
  int best = 0;
  for (const double rate : {15, 25, 35}) best = std::max(best, finished(rate));
  EXPECT_GE(finished(90), best * 85 / 100);
}

// All workers are gone for good: what waits is refused or fails, and nothing hangs.
TEST(SimulationTest, EndsWithoutWorkers) {
  SimulationOptions options = Options(1);
  options.faults = {{.at_s = 0.5, .worker = 0, .kind = Fault::Kind::kDie}};
  const SimulationResult result = Played(Shared(40, 20), options);
  EXPECT_EQ(Count(result, Outcome::kRunning), 0);
  EXPECT_GT(Count(result, Outcome::kRefused), 0);
}

// A busy owner's pages are pulled where that is sooner than computing.
TEST(SimulationTest, PullsFromOtherWorkers) {
  SimulationOptions options = Options(2);
  options.costs.running_requests_max = 4;
  options.costs.host_tier_bytes = 1 << 20;
  options.costs.full_page_bytes = options.costs.sliding_page_bytes = 1 << 10;
  options.costs.pull_bytes_per_s = 1e9;
  SharedPrefixOptions shared;
  shared.groups = 1;
  shared.prefix_tokens = 2048;
  shared.question_tokens = 64;
  shared.answer_tokens = 100;
  shared.requests = 60;
  shared.requests_per_s = 10;
  const SimulationResult result = Played(MakeSharedPrefixTrace(shared), options);
  int pulled = 0;
  for (const RequestRecord& record : result.records) pulled += record.pulled_tokens;
  EXPECT_GE(pulled, 1024);
}

// Given a request that no worker could hold, expect that it is named.
TEST(SimulationTest, RefusesWhatFitsNoWorker) {
  TraceRequest request;
  request.prompt = {{7, 4000}};
  request.answer_tokens = 97;
  EXPECT_THAT(Simulate({request}, Options(1), nullptr).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("request 1 has 4000 and 97")));
}

}  // namespace
}  // namespace facet
