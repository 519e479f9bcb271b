#ifndef FACET_ROUTER_METRICS_H_
#define FACET_ROUTER_METRICS_H_

#include <map>
#include <set>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "ops/metrics/metrics.h"

namespace facet {

// What is counted of one tenant. Of a copy's members each is the registry's.
struct TenantMetrics {
  prometheus::Counter* admitted_requests;
  prometheus::Counter* shed_requests;
  prometheus::Counter* prompt_tokens;  // That had to be computed.
  prometheus::Counter* cached_prompt_tokens;
  prometheus::Counter* generated_tokens;
  prometheus::Gauge* requests_waiting;
  prometheus::Histogram* admission_wait_seconds;  // Of those that waited.
};

// What the router counts. Safe to use from any thread; must outlive all that it is given to.
struct RouterMetrics {
  RouterMetrics();
  RouterMetrics(const RouterMetrics&) = delete;
  RouterMetrics& operator=(const RouterMetrics&) = delete;

  MetricRegistry registry{"router"};

  // {endpoint: chat|completions|responses|messages|transcriptions|grpc,
  //  outcome: finished|cancelled|deadline|invalid|denied|shed|unavailable|error}
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
  prometheus::Family<prometheus::Gauge>& workers;          // {origin: list|dns|registered}
  prometheus::Family<prometheus::Counter>& shed_requests;  // {reason}
  // {reason: worker_lost|worker_full|worker_stopping, exact: true|false}
  prometheus::Family<prometheus::Counter>& failovers;
  prometheus::Gauge& replicas_wanted;

  // Of the tenant's name as label `tenant`; "other" for all that come after the first hundred
  // names, so that the number of series is bounded.
  TenantMetrics OfTenant(const std::string& name);

  void CountRequest(const char* endpoint, const char* outcome) {
    requests.Add({{"endpoint", endpoint}, {"outcome", outcome}}).Increment();
  }

 private:
  friend class WorkerMetrics;
  // {worker}, and `reason` of refusals: those of workers that are there, and no others.
  prometheus::Family<prometheus::Gauge>& worker_up_;
  prometheus::Family<prometheus::Counter>& worker_refusals_;
  prometheus::Family<prometheus::Counter>& watch_gaps_;
  struct WorkerSeries {
    int holders = 0;
    prometheus::Gauge* up = nullptr;
    prometheus::Counter* watch_gaps = nullptr;
    std::map<std::string, prometheus::Counter*> refusals;
  };
  std::map<std::string, WorkerSeries> worker_series_ ABSL_GUARDED_BY(mutex_);  // By address.
  // {tenant}, and more where it says so.
  prometheus::Family<prometheus::Counter>& tenant_requests_;  // outcome: admitted|shed
  prometheus::Family<prometheus::Counter>& tenant_tokens_;    // kind: computed|cached|generated
  prometheus::Family<prometheus::Gauge>& requests_waiting_;
  prometheus::Family<prometheus::Histogram>& admission_wait_seconds_;
  absl::Mutex mutex_;
  std::set<std::string> tenant_names_ ABSL_GUARDED_BY(mutex_);
};

// What is counted of one worker. Its series end with the last object for its address, since
// addresses come and go for as long as the router lives.
class WorkerMetrics {
 public:
  // `metrics` must outlive it.
  WorkerMetrics(RouterMetrics& metrics, std::string address);
  ~WorkerMetrics();
  WorkerMetrics(const WorkerMetrics&) = delete;
  WorkerMetrics& operator=(const WorkerMetrics&) = delete;

  void SetUp(bool up);
  void CountRefusal(const std::string& reason);
  void CountWatchGap();

 private:
  RouterMetrics& metrics_;
  const std::string address_;
};

}  // namespace facet

#endif  // FACET_ROUTER_METRICS_H_
