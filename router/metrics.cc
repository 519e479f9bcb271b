#include "router/metrics.h"

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
      worker_up(registry.Gauges("facet_worker_up", "1 while the worker takes requests.")),
      worker_refusals(registry.Counters("facet_worker_refusals_total",
                                        "Connected workers that the router would not use.")),
      watch_gaps(
          registry.Counters("facet_watch_gaps_total",
                            "Times that a worker's news had a gap and were asked for anew.")),
      shed_requests(registry.Counters("facet_shed_requests_total", "Requests refused for load.")),
      failovers(registry.Counters(
          "facet_failovers_total",
          "Answers that went on at another worker; exact: without a changed token.")),
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

}  // namespace facet
