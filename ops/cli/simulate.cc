#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "absl/flags/declare.h"
#include "absl/flags/flag.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/status_macros.h"
#include "ops/cli/command.h"
#include "ops/cli/progress.h"
#include "ops/simulation/cost_table.h"
#include "ops/simulation/fault_schedule.h"
#include "ops/simulation/input_object.h"
#include "ops/simulation/report.h"
#include "ops/simulation/simulation.h"
#include "ops/simulation/trace.h"

ABSL_DECLARE_FLAG(bool, json);    // Of bench_engine.
ABSL_DECLARE_FLAG(int, workers);  // Of serve.
ABSL_FLAG(std::string, costs, "", "The cost table, a JSON file.");
ABSL_FLAG(std::string, trace, "", "A trace to play, JSON lines; none: users of shared prefixes.");
ABSL_FLAG(std::string, trace_format, "facet", "Of --trace: facet or mooncake.");
ABSL_FLAG(double, speed, 1, "How many times as fast as it says a trace arrives.");
ABSL_FLAG(int, groups, 150, "Shared prefixes.");
ABSL_FLAG(int, prefix_tokens, 6000, "Tokens of each.");
ABSL_FLAG(int, users, 5, "Users of each.");
ABSL_FLAG(int, question_tokens, 1200, "Tokens of a prompt after the prefix.");
ABSL_FLAG(int, answer_tokens, 1000, "Tokens of an answer.");
ABSL_FLAG(int, requests, 3000, "Requests about shared prefixes.");
ABSL_FLAG(double, requests_per_s, 10, "Their rate.");
ABSL_FLAG(bool, same_questions, false, "Each user asks one and the same question each time.");
ABSL_FLAG(double, deadline_s, 0, "Of each of them; 0: none.");
ABSL_FLAG(int, routers, 1, "Routers; clients are spread over them at random.");
ABSL_FLAG(double, news_delay_s, 0.01, "By which the last router hears news after the first.");
ABSL_FLAG(std::string, policy, "facet", "facet, round_robin or least_requests.");
ABSL_FLAG(std::string, faults, "", "A fault schedule, JSON lines.");
ABSL_FLAG(int, queue_answers_max, 4096, "That wait at a router.");
ABSL_FLAG(int, queue_wait_ms, 600'000, "That one waits at most.");
ABSL_FLAG(bool, warm, false,
          "Workers have all shared prefixes at the start, in memory of their own.");
ABSL_FLAG(int, full_pages, 0, "Instead of the cost table's; 0: that.");
ABSL_FLAG(int, sliding_pages, 0, "Instead of the cost table's; 0: that.");
ABSL_FLAG(int, uncounted, 0, "Requests at the start that fill caches and count in no figure.");
ABSL_FLAG(int64_t, seed, 1, "Of all that is drawn.");

namespace facet {
namespace {

absl::Status CheckFlag(const char* name, double value, double least, double most) {
  if (value >= least && value <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--", name, " is ", value, ", not from ", least, " to ", most));
}

absl::StatusOr<Trace> TraceFromFlags() {
  const std::string path = absl::GetFlag(FLAGS_trace);
  const std::string format = absl::GetFlag(FLAGS_trace_format);
  if (format != "facet" && format != "mooncake") {
    return absl::InvalidArgumentError(
        absl::StrCat("--trace_format is ", format, ", not facet or mooncake"));
  }
  if (!path.empty()) {
    RETURN_IF_ERROR(CheckFlag("speed", absl::GetFlag(FLAGS_speed), 1e-3, 1e6));
    ASSIGN_OR_RETURN(const std::string text, ReadInputFile(path));
    ASSIGN_OR_RETURN(Trace trace,
                     format == "facet" ? ParseTrace(text, path) : ParseMooncakeTrace(text, path));
    for (TraceRequest& request : trace) request.arrival_s /= absl::GetFlag(FLAGS_speed);
    return trace;
  }
  SharedPrefixOptions options;
  options.groups = absl::GetFlag(FLAGS_groups);
  options.prefix_tokens = absl::GetFlag(FLAGS_prefix_tokens);
  options.users = absl::GetFlag(FLAGS_users);
  options.question_tokens = absl::GetFlag(FLAGS_question_tokens);
  options.answer_tokens = absl::GetFlag(FLAGS_answer_tokens);
  options.requests = absl::GetFlag(FLAGS_requests);
  options.requests_per_s = absl::GetFlag(FLAGS_requests_per_s);
  options.same_questions = absl::GetFlag(FLAGS_same_questions);
  options.deadline_s = absl::GetFlag(FLAGS_deadline_s);
  options.seed = absl::GetFlag(FLAGS_seed);
  RETURN_IF_ERROR(CheckFlag("groups", options.groups, 1, 1e6));
  RETURN_IF_ERROR(CheckFlag("prefix_tokens", options.prefix_tokens, 1, 1e7));
  RETURN_IF_ERROR(CheckFlag("users", options.users, 1, 1e4));
  RETURN_IF_ERROR(CheckFlag("question_tokens", options.question_tokens, 1, 1e7));
  RETURN_IF_ERROR(CheckFlag("answer_tokens", options.answer_tokens, 1, 1e7));
  RETURN_IF_ERROR(CheckFlag("requests", options.requests, 1, 1e8));
  RETURN_IF_ERROR(CheckFlag("requests_per_s", options.requests_per_s, 1e-6, 1e9));
  RETURN_IF_ERROR(CheckFlag("deadline_s", options.deadline_s, 0, 1e6));
  return MakeSharedPrefixTrace(options);
}

absl::StatusOr<SimulationOptions> OptionsFromFlags() {
  SimulationOptions options;
  const std::string costs = absl::GetFlag(FLAGS_costs);
  if (costs.empty()) return absl::InvalidArgumentError("--costs is not set");
  ASSIGN_OR_RETURN(const std::string costs_text, ReadInputFile(costs));
  ASSIGN_OR_RETURN(options.costs, ParseCostTable(costs_text, costs));
  const int full_pages = absl::GetFlag(FLAGS_full_pages);
  const int sliding_pages = absl::GetFlag(FLAGS_sliding_pages);
  if (full_pages != 0 || sliding_pages != 0) {
    if (full_pages != 0) options.costs.full_pages = full_pages;
    if (sliding_pages != 0) options.costs.sliding_pages = sliding_pages;
    ASSIGN_OR_RETURN(options.costs, ParseCostTable(CostTableText(options.costs),
                                                   "--full_pages and --sliding_pages"));
  }
  options.workers = absl::GetFlag(FLAGS_workers);
  options.routers = absl::GetFlag(FLAGS_routers);
  options.news_delay_s = absl::GetFlag(FLAGS_news_delay_s);
  RETURN_IF_ERROR(CheckFlag("workers", options.workers, 1, 60'000));
  RETURN_IF_ERROR(CheckFlag("routers", options.routers, 1, 100));
  RETURN_IF_ERROR(CheckFlag("news_delay_s", options.news_delay_s, 0, 10));
  const std::string policy = absl::GetFlag(FLAGS_policy);
  if (policy == "round_robin") {
    options.policy = Policy::kRoundRobin;
  } else if (policy == "least_requests") {
    options.policy = Policy::kLeastRequests;
  } else if (policy != "facet") {
    return absl::InvalidArgumentError(
        absl::StrCat("--policy is ", policy, ", not facet, round_robin or least_requests"));
  }
  options.line.queue.answers_max = absl::GetFlag(FLAGS_queue_answers_max);
  options.line.wait_ms_max = absl::GetFlag(FLAGS_queue_wait_ms);
  RETURN_IF_ERROR(CheckFlag("queue_answers_max", options.line.queue.answers_max, 1, 1e7));
  RETURN_IF_ERROR(CheckFlag("queue_wait_ms", options.line.wait_ms_max, 1, 1e9));
  if (const std::string faults = absl::GetFlag(FLAGS_faults); !faults.empty()) {
    ASSIGN_OR_RETURN(const std::string text, ReadInputFile(faults));
    ASSIGN_OR_RETURN(options.faults, ParseFaults(text, faults, options.workers));
  }
  options.warm = absl::GetFlag(FLAGS_warm);
  options.seed = absl::GetFlag(FLAGS_seed);
  return options;
}

absl::Status Run(const std::vector<absl::string_view>&) {
  ASSIGN_OR_RETURN(const SimulationOptions options, OptionsFromFlags());
  ASSIGN_OR_RETURN(const Trace trace, TraceFromFlags());
  const int uncounted = absl::GetFlag(FLAGS_uncounted);
  RETURN_IF_ERROR(CheckFlag("uncounted", uncounted, 0, std::max<double>(0, trace.size() - 1.0)));
  const absl::Time begin = absl::Now();
  absl::StatusOr<SimulationResult> result = absl::InternalError("");
  {
    Progress progress("simulated");
    result = Simulate(trace, options, [&](size_t ended) { progress.Show(ended, trace.size()); });
  }
  RETURN_IF_ERROR(result.status());
  const double took_s = absl::ToDoubleSeconds(absl::Now() - begin);
  std::fprintf(stderr, "%lld events in %.2f s, %.0f a second\n",
               static_cast<long long>(result->events), took_s,
               static_cast<double>(result->events) / took_s);
  const std::string report = absl::GetFlag(FLAGS_json) ? ReportJson(trace, *result, uncounted)
                                                       : ReportTable(trace, *result, uncounted);
  std::fputs(report.c_str(), stdout);
  return absl::OkStatus();
}

}  // namespace

const Command kSimulateCommand = {
    "simulate", "a cluster under virtual time: what a trace or faults would do to it",
    "facet simulate --costs=FILE [--trace=FILE [--trace_format=mooncake] [--speed=2]]\n"
    "    [--workers=4] [--routers=1] [--policy=facet] [--faults=FILE]\n"
    "    [--json]: plays a trace, or without --trace users of shared prefixes, against\n"
    "workers that take as long as the cost table says. Placement, admission, scheduling and\n"
    "caches are the product's own code; equal flags and files give equal bytes. The formats of\n"
    "cost tables, traces and fault schedules: ops/simulation/README.md.\n\n"
    "  facet simulate --costs=ops/simulation/costs/h200.json --workers=8 "
    "--requests=2000\n"
    "  facet simulate --costs=c.json --policy=round_robin --json\n"
    "  facet simulate --costs=c.json --trace=conversation.jsonl --trace_format=mooncake\n"
    "  facet simulate --costs=c.json --workers=64 --routers=3 --faults=f.jsonl",
    Run};

}  // namespace facet
