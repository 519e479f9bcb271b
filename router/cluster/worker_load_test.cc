#include "router/cluster/worker_load.h"

#include "gtest/gtest.h"

namespace facet {
namespace {

WorkerSnapshot Of(const WorkerLoad& load) {
  WorkerSnapshot snapshot;
  load.AddTo(snapshot);
  return snapshot;
}

// What was sent counts beside a report until the second report after it: the first may have been
// written before the worker saw it.
TEST(WorkerLoadTest, CountsWhatTheReportMayLack) {
  WorkerLoad load;
  load.OnStart(100);
  EXPECT_EQ(Of(load).started_after_report, 1u);
  EXPECT_EQ(Of(load).prefill_tokens_after_report, 100u);
  v1::Load report;
  report.set_running_requests(3);
  report.set_prefill_tokens_waiting(70);
  load.OnReport(report);
  EXPECT_EQ(Of(load).running, 3u);
  EXPECT_EQ(Of(load).prefill_tokens_waiting, 70u);
  EXPECT_EQ(Of(load).started_after_report, 0u);
  EXPECT_EQ(Of(load).started_since_report, 1u);
  EXPECT_EQ(Of(load).prefill_tokens_since_report, 100u);
  load.OnReport(report);
  EXPECT_EQ(Of(load).started_since_report, 0u);
}

// A request is in flight until it ends, its prompt until its answer begins.
TEST(WorkerLoadTest, FollowsARequestToItsEnd) {
  WorkerLoad load;
  load.OnStart(100);
  load.OnStart(20);
  EXPECT_EQ(Of(load).prefill_tokens_in_flight, 120u);
  load.OnAnswerBegun(100);
  EXPECT_EQ(Of(load).in_flight, 2u);
  EXPECT_EQ(Of(load).prefill_tokens_in_flight, 20u);
  load.OnEnd();
  EXPECT_EQ(Of(load).in_flight, 1u);
}

// What others sent is in nobody's flight here, but in the worker's next report.
TEST(WorkerLoadTest, CountsWhatOthersSend) {
  WorkerLoad load;
  load.OnStartElsewhere(50);
  EXPECT_EQ(Of(load).started_after_report, 1u);
  EXPECT_EQ(Of(load).in_flight, 0u);
  EXPECT_EQ(Of(load).prefill_tokens_in_flight, 0u);
}

// A worker that comes back has nothing of what it had.
TEST(WorkerLoadTest, ForgetsAllOfALostWorker) {
  WorkerLoad load;
  v1::Load report;
  report.set_draining(true);
  load.OnReport(report);
  load.OnStart(100);
  load.OnLost();
  EXPECT_FALSE(Of(load).draining);
  EXPECT_EQ(Of(load).in_flight, 0u);
  EXPECT_EQ(Of(load).started_since_report, 0u);
}

}  // namespace
}  // namespace facet
