#include "router/metrics.h"

#include <utility>

namespace facet {
namespace {

constexpr size_t kTenantLabelsMax = 100;

prometheus::Family<prometheus::Counter>& PlacedTokens(MetricRegistry& registry) {
  return registry.Counters("facet_placed_prompt_tokens_total",
                           "Tokens of placed prompts: thought to be cached at the chosen worker "
                           "(true), to be pulled from "
                           "another one (elsewhere), or to be computed (false).");
}

}  // namespace

RouterMetrics::RouterMetrics()
    : requests(registry.Counters("facet_requests_total", "Requests that ended, by outcome.")),
      requests_running(
          registry.Gauge("facet_requests_running", "Requests that are being answered.")),
      time_to_first_token_seconds(registry.Histogram("facet_time_to_first_token_seconds",
                                                     "From a request's receipt to its first token.",
                                                     RequestSecondsBuckets())),
      inter_token_latency_seconds(registry.Histogram("facet_inter_token_latency_seconds",
                                                     "Between two tokens of one answer.",
                                                     TokenSecondsBuckets())),
      request_duration_seconds(registry.Histogram("facet_request_duration_seconds",
                                                  "From a request's receipt to its end.",
                                                  RequestSecondsBuckets())),
      queue_wait_seconds(registry.Histogram("facet_queue_wait_seconds",
                                            "Waited in the router's queue and at the worker, "
                                            "before the first step.",
                                            RequestSecondsBuckets())),
      prompt_tokens(registry.Counter("facet_prompt_tokens_total", "Tokens of prompts.")),
      cached_prompt_tokens(registry.Counters(
          "facet_cached_prompt_tokens_total",
          "Tokens of prompts that were not computed, by where their pages were.")),
      generated_tokens(
          registry.Counter("facet_generated_tokens_total", "Tokens generated for clients.")),
      placed_cached_tokens(PlacedTokens(registry).Add({{"cached", "true"}})),
      placed_pulled_tokens(PlacedTokens(registry).Add({{"cached", "elsewhere"}})),
      placed_computed_tokens(PlacedTokens(registry).Add({{"cached", "false"}})),
      media_bytes_sent(registry.Counter("facet_media_bytes_sent_total",
                                        "Bytes of pictures and sounds sent to workers.")),
      workers(registry.Gauges("facet_workers",
                              "Workers that the router connects to, by where it knows them from: "
                              "the first that holds of list, dns, registered.")),
      shed_requests(registry.Counters("facet_shed_requests_total", "Requests refused for load.")),
      failovers(registry.Counters(
          "facet_failovers_total",
          "Answers that went on at another worker; exact: without a changed token.")),
      replicas_wanted(registry.Gauge("facet_replicas_wanted",
                                     "Workers that this router's load calls for; to be summed over "
                                     "routers, and rounded up.")),
      worker_up_(registry.Gauges("facet_worker_up", "1 while the worker takes requests.")),
      worker_refusals_(registry.Counters("facet_worker_refusals_total",
                                         "Connected workers that the router would not use.")),
      watch_gaps_(
          registry.Counters("facet_watch_gaps_total",
                            "Times that a worker's news had a gap and were asked for anew.")),
      tenant_requests_(registry.Counters("facet_tenant_requests_total",
                                         "Requests of a tenant: admitted, or refused for load or "
                                         "for a limit of its own.")),
      tenant_tokens_(registry.Counters("facet_tenant_tokens_total",
                                       "Tokens of a tenant: of prompts that were computed or "
                                       "cached, and generated.")),
      requests_waiting_(
          registry.Gauges("facet_requests_waiting", "Answers that wait in the router's queue.")),
      admission_wait_seconds_(registry.Histograms(
          "facet_admission_wait_seconds", "In the router's queue, of answers that waited there.")) {
  // A rate over what is not there yet is nothing, and an alert on it never fires: so what is known
  // beforehand stands at zero.
  for (const char* endpoint :
       {"chat", "completions", "responses", "messages", "transcriptions", "grpc"}) {
    for (const char* outcome : {"finished", "cancelled", "deadline", "invalid", "denied", "shed",
                                "unavailable", "error"}) {
      requests.Add({{"endpoint", endpoint}, {"outcome", outcome}});
    }
  }
  for (const char* tier : {"device", "host", "disk", "peer"}) {
    cached_prompt_tokens.Add({{"tier", tier}});
  }
  for (const char* reason : {"queue_full", "deadline", "no_worker", "workers_full"}) {
    shed_requests.Add({{"reason", reason}});
  }
  for (const char* reason : {"worker_lost", "worker_full", "worker_stopping"}) {
    for (const char* exact : {"true", "false"}) {
      failovers.Add({{"reason", reason}, {"exact", exact}});
    }
  }
}

TenantMetrics RouterMetrics::OfTenant(const std::string& name) {
  std::string label = name;
  {
    absl::MutexLock lock(&mutex_);
    const bool known = tenant_names_.count(name) > 0;
    if (!known && tenant_names_.size() >= kTenantLabelsMax) label = "other";
    if (!known && label == name) tenant_names_.insert(name);
  }
  const auto requests = [&](const char* outcome) {
    return &tenant_requests_.Add({{"tenant", label}, {"outcome", outcome}});
  };
  const auto tokens = [&](const char* kind) {
    return &tenant_tokens_.Add({{"tenant", label}, {"kind", kind}});
  };
  return {requests("admitted"),
          requests("shed"),
          tokens("computed"),
          tokens("cached"),
          tokens("generated"),
          &requests_waiting_.Add({{"tenant", label}}),
          &admission_wait_seconds_.Add({{"tenant", label}}, RequestSecondsBuckets())};
}

WorkerMetrics::WorkerMetrics(RouterMetrics& metrics, std::string address)
    : metrics_(metrics), address_(std::move(address)) {
  absl::MutexLock lock(&metrics_.mutex_);
  RouterMetrics::WorkerSeries& series = metrics_.worker_series_[address_];
  ++series.holders;
  if (series.up != nullptr) return;
  series.up = &metrics_.worker_up_.Add({{"worker", address_}});
  series.watch_gaps = &metrics_.watch_gaps_.Add({{"worker", address_}});
}

WorkerMetrics::~WorkerMetrics() {
  absl::MutexLock lock(&metrics_.mutex_);
  const auto found = metrics_.worker_series_.find(address_);
  RouterMetrics::WorkerSeries& series = found->second;
  if (--series.holders > 0) return;
  metrics_.worker_up_.Remove(series.up);
  metrics_.watch_gaps_.Remove(series.watch_gaps);
  for (const auto& [reason, counter] : series.refusals) metrics_.worker_refusals_.Remove(counter);
  metrics_.worker_series_.erase(found);
}

void WorkerMetrics::SetUp(bool up) {
  absl::MutexLock lock(&metrics_.mutex_);
  metrics_.worker_series_.at(address_).up->Set(up ? 1 : 0);
}

void WorkerMetrics::CountRefusal(const std::string& reason) {
  absl::MutexLock lock(&metrics_.mutex_);
  prometheus::Counter*& counter = metrics_.worker_series_.at(address_).refusals[reason];
  if (counter == nullptr) {
    counter = &metrics_.worker_refusals_.Add({{"worker", address_}, {"reason", reason}});
  }
  counter->Increment();
}

void WorkerMetrics::CountWatchGap() {
  absl::MutexLock lock(&metrics_.mutex_);
  metrics_.worker_series_.at(address_).watch_gaps->Increment();
}

}  // namespace facet
