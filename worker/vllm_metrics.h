#ifndef FACET_WORKER_VLLM_METRICS_H_
#define FACET_WORKER_VLLM_METRICS_H_

#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "ops/metrics/metrics.h"
#include "proto/page_event.h"
#include "proto/worker.pb.h"
#include "worker/engine_observer.h"
#include "worker/watch_board.h"

namespace facet {

// What vLLM names the same things: dashboards, KEDA triggers and the Gateway API inference
// extension that were written for it read this. Each series has the label model_name, and vLLM's
// buckets.
class VllmMetrics final : public EngineObserver, public WatchBoard::Watcher {
 public:
  struct Shape {
    std::string model_name;
    int page_tokens = 0;
    int pages = 0;  // of full layers
    std::string kv_format;
    int adapters_max = 0;
  };
  // `registry` must outlive it.
  VllmMetrics(MetricRegistry& registry, const Shape& shape);

  void OnTokens(const Tokens& tokens) override;
  void OnPreemption() override { preemptions_.Increment(); }
  void OnEnd(v1::FinishReason reason, const v1::Ledger& ledger) override;
  void OnLoad(const v1::Load& load) override;

  // Which adapters requests may name.
  void OnNews(const v1::Load& load, absl::Span<const PageEvent> pages) override
      ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  const prometheus::Labels model_;
  prometheus::Gauge& requests_running_;
  prometheus::Gauge& requests_waiting_;
  prometheus::Gauge& kv_usage_;
  prometheus::Counter& prefix_queries_;  // in tokens, as vLLM counts them
  prometheus::Counter& prefix_hits_;
  prometheus::Counter& prompt_tokens_;
  prometheus::Counter& generated_tokens_;
  prometheus::Counter& preemptions_;
  prometheus::Counter& drafted_tokens_;
  prometheus::Counter& accepted_draft_tokens_;
  prometheus::Family<prometheus::Counter>&
      successes_;  // {finished_reason: stop|length|abort|error}
  prometheus::Histogram& time_to_first_token_seconds_;
  prometheus::Histogram& inter_token_latency_seconds_;
  prometheus::Histogram& request_seconds_;
  prometheus::Histogram& queue_seconds_;
  prometheus::Histogram& prefill_seconds_;
  prometheus::Histogram& decode_seconds_;
  const int adapters_max_;
  prometheus::Family<prometheus::Gauge>& adapters_;
  // Their names stand in one label of one series, as vLLM has it: a change ends that series.
  absl::Mutex mutex_;
  std::string held_names_ ABSL_GUARDED_BY(mutex_);
  prometheus::Gauge* held_ ABSL_GUARDED_BY(mutex_) = nullptr;
};

}  // namespace facet

#endif  // FACET_WORKER_VLLM_METRICS_H_
