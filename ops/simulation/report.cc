#include "ops/simulation/report.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace facet {
namespace {

using Outcome = RequestRecord::Outcome;

// The p-th of 100 parts, by nearest rank; 0 of nothing.
struct Spread {
  double p50 = 0, p90 = 0, p99 = 0;
};
template <typename Value>
Spread SpreadOf(std::vector<Value> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const auto at = [&](double share) {
    const double rank = std::ceil(share * static_cast<double>(values.size()));
    return static_cast<double>(values[std::max<size_t>(1, static_cast<size_t>(rank)) - 1]);
  };
  return {at(0.50), at(0.90), at(0.99)};
}

// Of all requests, or of one tenant's.
struct Figures {
  int64_t requests = 0, finished = 0, failovers = 0;
  std::map<std::string, int64_t> refused, failed;  // By reason.
  int64_t refused_without_retry_after = 0;
  int64_t prompt_tokens = 0, cached_tokens = 0, pulled_tokens = 0, generated_tokens = 0;
  // Of answers that were finished: in time, as all others are cut.
  int64_t finished_tokens = 0;
  std::vector<double> first_token_s;
};

struct Report {
  Figures all;
  std::map<std::string, Figures> tenants;
  Spread pauses_s;
  double duration_s = 0;
  double busy_share_least = 0, busy_share_mean = 0, busy_share_most = 0;
};

void Add(const TraceRequest& request, const RequestRecord& record, Figures& figures) {
  ++figures.requests;
  figures.failovers += record.failovers;
  figures.generated_tokens += record.generated_tokens;
  if (record.first_token_s > 0) {
    figures.first_token_s.push_back(record.first_token_s - request.arrival_s);
  }
  switch (record.outcome) {
    case Outcome::kFinished:
      ++figures.finished;
      figures.finished_tokens += record.generated_tokens;
      figures.prompt_tokens += request.prompt_tokens();
      figures.cached_tokens += record.cached_tokens;
      figures.pulled_tokens += record.pulled_tokens;
      return;
    case Outcome::kRefused:
      ++figures.refused[record.reason];
      figures.refused_without_retry_after += record.retry_after_s == 0 ? 1 : 0;
      return;
    case Outcome::kDeadline:
    case Outcome::kFailed:
    case Outcome::kRunning:
      ++figures.failed[record.reason];
      return;
  }
}

Report MakeReport(const Trace& trace, const SimulationResult& result, size_t first) {
  Report report;
  for (size_t i = first; i < trace.size(); ++i) {
    Add(trace[i], result.records[i], report.all);
    Add(trace[i], result.records[i], report.tenants[trace[i].tenant]);
  }
  report.pauses_s = SpreadOf(result.pauses_s);
  report.duration_s = trace.empty() ? 0 : result.end_s - trace[first].arrival_s;
  const double duration_s = std::max(1e-9, result.end_s);
  report.busy_share_least = 1;
  for (const double busy_s : result.worker_busy_s) {
    const double share = busy_s / duration_s;
    report.busy_share_least = std::min(report.busy_share_least, share);
    report.busy_share_most = std::max(report.busy_share_most, share);
    report.busy_share_mean += share / static_cast<double>(result.worker_busy_s.size());
  }
  return report;
}

double Rate(double amount, double seconds) { return seconds > 0 ? amount / seconds : 0; }
double CachedShare(const Figures& figures) {
  return Rate(static_cast<double>(figures.cached_tokens),
              static_cast<double>(figures.prompt_tokens));
}

std::string Quoted(const std::string& text) {
  std::string quoted = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      quoted += absl::StrCat("\\", std::string(1, c));
    } else if (byte < 0x20) {
      absl::StrAppendFormat(&quoted, "\\u%04x", byte);
    } else {
      quoted += c;
    }
  }
  return quoted + "\"";
}

std::string Json(const std::map<std::string, int64_t>& counts) {
  std::string text = "{";
  for (const auto& [name, count] : counts) {
    absl::StrAppend(&text, text.size() == 1 ? "" : ", ", Quoted(name), ": ", count);
  }
  return text + "}";
}

std::string Json(const Spread& spread) {
  return absl::StrFormat("{\"p50\": %.6g, \"p90\": %.6g, \"p99\": %.6g}", spread.p50, spread.p90,
                         spread.p99);
}

std::string FiguresJson(const Figures& figures, double duration_s) {
  return absl::StrFormat(
      "\"requests\": %d, \"finished\": %d, \"refused\": %s, \"refused_without_retry_after\": %d, "
      "\"failed\": %s, \"failovers\": %d, \"prompt_tokens\": %d, \"cached_tokens\": %d, "
      "\"pulled_tokens\": %d, \"cached_share\": %.6g, \"generated_tokens\": %d, "
      "\"finished_tokens_per_s\": %.6g, \"finished_requests_per_s\": %.6g, "
      "\"time_to_first_token_s\": %s",
      figures.requests, figures.finished, Json(figures.refused),
      figures.refused_without_retry_after, Json(figures.failed), figures.failovers,
      figures.prompt_tokens, figures.cached_tokens, figures.pulled_tokens, CachedShare(figures),
      figures.generated_tokens, Rate(static_cast<double>(figures.finished_tokens), duration_s),
      Rate(static_cast<double>(figures.finished), duration_s),
      Json(SpreadOf(figures.first_token_s)));
}

std::string CountsText(const std::map<std::string, int64_t>& counts) {
  std::string text;
  for (const auto& [name, count] : counts) {
    absl::StrAppend(&text, text.empty() ? "" : ", ", name, " ", count);
  }
  return text.empty() ? "none" : text;
}

void AddRow(absl::string_view name, const Figures& figures, std::string& text) {
  const Spread first = SpreadOf(figures.first_token_s);
  absl::StrAppendFormat(&text, "%-16s %9d %9d %8.1f %% %9.3f %9.3f %9.3f\n",
                        std::string(name.substr(0, 16)), figures.requests, figures.finished,
                        100 * CachedShare(figures), first.p50, first.p90, first.p99);
}

}  // namespace

std::string ReportJson(const Trace& trace, const SimulationResult& result, size_t first) {
  const Report report = MakeReport(trace, result, first);
  std::string text = absl::StrFormat(
      "{%s, \"inter_token_s\": %s, \"duration_s\": %.6g, \"workers\": %d, \"busy_share\": "
      "{\"least\": %.6g, \"mean\": %.6g, \"most\": %.6g}, \"events\": %d, \"tenants\": {",
      FiguresJson(report.all, report.duration_s), Json(report.pauses_s), report.duration_s,
      result.worker_busy_s.size(), report.busy_share_least, report.busy_share_mean,
      report.busy_share_most, result.events);
  for (const auto& [tenant, figures] : report.tenants) {
    absl::StrAppend(&text, text.back() == '{' ? "" : ", ", Quoted(tenant), ": {",
                    FiguresJson(figures, report.duration_s), "}");
  }
  return text + "}}\n";
}

std::string ReportTable(const Trace& trace, const SimulationResult& result, size_t first) {
  const Report report = MakeReport(trace, result, first);
  std::string text = absl::StrFormat("%-16s %9s %9s %10s %29s\n%-16s %9s %9s %10s %9s %9s %9s\n",
                                     "", "", "", "", "time to first token, s", "tenant", "requests",
                                     "finished", "cached", "p50", "p90", "p99");
  AddRow("all", report.all, text);
  if (report.tenants.size() > 1) {
    for (const auto& [tenant, figures] : report.tenants) AddRow(tenant, figures, text);
  }
  const Figures& all = report.all;
  absl::StrAppendFormat(&text,
                        "\nbetween tokens, s   p50 %.4f  p90 %.4f  p99 %.4f\n"
                        "finished            %.2f requests/s, %.1f tokens/s, over %.1f s\n"
                        "refused             %s\n"
                        "failed              %s; %d answers moved\n"
                        "workers busy        %.1f %% (%.1f to %.1f)\n",
                        report.pauses_s.p50, report.pauses_s.p90, report.pauses_s.p99,
                        Rate(static_cast<double>(all.finished), report.duration_s),
                        Rate(static_cast<double>(all.finished_tokens), report.duration_s),
                        report.duration_s, CountsText(all.refused), CountsText(all.failed),
                        all.failovers, 100 * report.busy_share_mean, 100 * report.busy_share_least,
                        100 * report.busy_share_most);
  return text;
}

}  // namespace facet
