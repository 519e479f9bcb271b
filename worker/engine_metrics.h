#ifndef FACET_WORKER_ENGINE_METRICS_H_
#define FACET_WORKER_ENGINE_METRICS_H_

#include "ops/metrics/metrics.h"
#include "proto/worker.pb.h"
#include "worker/engine_observer.h"

namespace facet {

// What a worker counts. Names that routers have too are the router's: what clients saw. What is
// here happened at one engine, so it begins with facet_engine_ where the two could be mixed up.
struct EngineMetrics final : public EngineObserver {
  // `registry` must outlive it.
  explicit EngineMetrics(MetricRegistry& registry);

  prometheus::Gauge& requests_running;
  prometheus::Gauge& requests_waiting;
  // {reason: stop|length|cancelled|deadline|error}
  prometheus::Family<prometheus::Counter>& requests;
  prometheus::Histogram& time_to_first_token_seconds;
  prometheus::Histogram& inter_token_latency_seconds;
  prometheus::Histogram& queue_wait_seconds;
  prometheus::Histogram& prefill_seconds;
  prometheus::Histogram& decode_seconds;
  prometheus::Counter& computed_prompt_tokens;  // {cached: false}
  prometheus::Counter& cached_prompt_tokens;    // {cached: true}
  prometheus::Counter& generated_tokens;
  prometheus::Counter& drafted_tokens;
  prometheus::Counter& accepted_draft_tokens;
  prometheus::Counter& preemptions;
  prometheus::Gauge& prefill_tokens_waiting;
  prometheus::Gauge& generated_tokens_per_s;
  prometheus::Gauge& full_pages_used;     // {pool: full, state: used}
  prometheus::Gauge& full_pages_free;     // {pool: full, state: free}
  prometheus::Gauge& sliding_pages_used;  // {pool: sliding, state: used}
  prometheus::Gauge& sliding_pages_free;  // {pool: sliding, state: free}
  prometheus::Gauge& kv_usage_ratio;      // Of the fuller pool.
  prometheus::Counter& pulled_pages;      // {outcome: pulled}
  prometheus::Counter& missed_pages;      // {outcome: missed}
  prometheus::Counter& pulled_bytes;
  prometheus::Gauge& draining;

  void OnTokens(const Tokens& tokens) override;
  void OnPreemption() override { preemptions.Increment(); }
  void OnEnd(v1::FinishReason reason, const v1::Ledger& ledger) override;
  void OnLoad(const v1::Load& load) override;
};

// The share of the fuller pool's pages that is in use; pages of cached prefixes that nobody uses
// are not.
double KvUsageRatio(const v1::Load& load);

// Observes how long tokens took: since the request's arrival for its first ones, else for each the
// same share of the time since those before.
void ObserveTimes(const EngineObserver::Tokens& told, prometheus::Histogram& first_token_seconds,
                  prometheus::Histogram& inter_token_seconds);

}  // namespace facet

#endif  // FACET_WORKER_ENGINE_METRICS_H_
