#ifndef FACET_ROUTER_METRICS_H_
#define FACET_ROUTER_METRICS_H_

#include <string>

#include "ops/metrics/metrics.h"

namespace facet {

// What the router counts. Safe to use from any thread; must outlive all that it is given to.
struct RouterMetrics {
  RouterMetrics();
  RouterMetrics(const RouterMetrics&) = delete;
  RouterMetrics& operator=(const RouterMetrics&) = delete;

  MetricRegistry registry{"router"};

  // {endpoint: chat|completions|responses|messages|transcriptions|grpc,
  //  outcome: finished|cancelled|deadline|invalid|shed|unavailable|error}
  prometheus::Family<prometheus::Counter>& requests;
  prometheus::Gauge& requests_running;
  prometheus::Histogram& time_to_first_token_seconds;
  prometheus::Histogram& inter_token_latency_seconds;
  prometheus::Histogram& request_duration_seconds;
  prometheus::Histogram& queue_wait_seconds;
  prometheus::Counter& prompt_tokens;
  // Not computed, by where their pages were: device, host, disk, or another worker (peer).
  prometheus::Family<prometheus::Counter>& cached_prompt_tokens;  // {tier}
  prometheus::Counter& generated_tokens;
  prometheus::Counter& placed_cached_tokens;    // {cached: true}
  prometheus::Counter& placed_pulled_tokens;    // {cached: elsewhere}
  prometheus::Counter& placed_computed_tokens;  // {cached: false}
  prometheus::Counter& media_bytes_sent;
  prometheus::Family<prometheus::Gauge>& worker_up;          // {worker}
  prometheus::Family<prometheus::Counter>& worker_refusals;  // {worker, reason}
  prometheus::Family<prometheus::Counter>& watch_gaps;       // {worker}
  prometheus::Family<prometheus::Counter>& shed_requests;    // {reason}
  // {reason: worker_lost|worker_full|worker_stopping, exact: true|false}
  prometheus::Family<prometheus::Counter>& failovers;

  void CountRequest(const char* endpoint, const char* outcome) {
    requests.Add({{"endpoint", endpoint}, {"outcome", outcome}}).Increment();
  }
};

}  // namespace facet

#endif  // FACET_ROUTER_METRICS_H_
