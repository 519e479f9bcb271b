#include "worker/engine_metrics.h"

#include <algorithm>
#include <string>

namespace facet {
namespace {

constexpr char kKvPages[] = "facet_kv_pages";
constexpr char kKvPagesHelp[] =
    "Pages of keys and values; those of cached prefixes that nobody uses are free.";

prometheus::Gauge& KvPages(MetricRegistry& registry, const char* pool, const char* state) {
  return registry.Gauges(kKvPages, kKvPagesHelp).Add({{"pool", pool}, {"state", state}});
}

prometheus::Counter& PromptTokens(MetricRegistry& registry, const char* cached) {
  return registry
      .Counters("facet_engine_prompt_tokens_total",
                "Tokens of prompts, when their first answer token came: cached or computed.")
      .Add({{"cached", cached}});
}

prometheus::Counter& Pulled(MetricRegistry& registry, const char* outcome) {
  return registry
      .Counters("facet_pulled_pages_total",
                "Pages to be pulled from other workers: pulled, or missed because they were "
                "absent, late or wrong.")
      .Add({{"outcome", outcome}});
}

const char* NameOf(v1::FinishReason reason) {
  switch (reason) {
    case v1::FINISH_REASON_STOP:
      return "stop";
    case v1::FINISH_REASON_LENGTH:
      return "length";
    case v1::FINISH_REASON_CANCELLED:
      return "cancelled";
    case v1::FINISH_REASON_DEADLINE:
      return "deadline";
    default:
      return "error";
  }
}

// The engine tells sums, a counter takes what was added.
void RaiseTo(prometheus::Counter& counter, uint64_t sum) {
  counter.Increment(std::max(0.0, static_cast<double>(sum) - counter.Value()));
}

double UsedShare(uint32_t free, uint32_t total) {
  return total == 0 ? 0 : 1 - static_cast<double>(free) / total;
}

}  // namespace

double KvUsageRatio(const v1::Load& load) {
  return std::max(UsedShare(load.full_pages_free(), load.full_pages_total()),
                  UsedShare(load.sliding_pages_free(), load.sliding_pages_total()));
}

EngineMetrics::EngineMetrics(MetricRegistry& registry)
    : requests_running(registry.Gauge("facet_engine_requests_running", "That hold pages.")),
      requests_waiting(
          registry.Gauge("facet_engine_requests_waiting", "That wait at the worker for pages.")),
      requests(registry.Counters("facet_engine_requests_total",
                                 "Requests that ended at the worker, by why.")),
      time_to_first_token_seconds(registry.Histogram(
          "facet_engine_time_to_first_token_seconds",
          "From a request's arrival at the worker to its first token.", RequestSecondsBuckets())),
      inter_token_latency_seconds(registry.Histogram("facet_engine_inter_token_latency_seconds",
                                                     "Between two tokens of one request.",
                                                     TokenSecondsBuckets())),
      queue_wait_seconds(registry.Histogram("facet_engine_queue_wait_seconds",
                                            "From a request's arrival at the worker to its first "
                                            "step.",
                                            RequestSecondsBuckets())),
      prefill_seconds(registry.Histogram("facet_engine_prefill_seconds",
                                         "From a request's first step to its first token.",
                                         RequestSecondsBuckets())),
      decode_seconds(registry.Histogram("facet_engine_decode_seconds",
                                        "From a request's first token to its last.",
                                        RequestSecondsBuckets())),
      computed_prompt_tokens(PromptTokens(registry, "false")),
      cached_prompt_tokens(PromptTokens(registry, "true")),
      generated_tokens(
          registry.Counter("facet_engine_generated_tokens_total", "Tokens that steps gave.")),
      drafted_tokens(registry.Counter("facet_drafted_tokens_total",
                                      "Tokens that the drafter guessed and the model verified.")),
      accepted_draft_tokens(
          registry.Counter("facet_accepted_draft_tokens_total", "Those of them that were right.")),
      preemptions(registry.Counter("facet_engine_preemptions_total",
                                   "Times that a request gave its pages back to go on later.")),
      prefill_tokens_waiting(
          registry.Gauge("facet_engine_prefill_tokens_waiting",
                         "Tokens of prompts that are neither computed nor cached.")),
      generated_tokens_per_s(registry.Gauge("facet_engine_generated_tokens_per_second",
                                            "A moving average over steps.")),
      full_pages_used(KvPages(registry, "full", "used")),
      full_pages_free(KvPages(registry, "full", "free")),
      sliding_pages_used(KvPages(registry, "sliding", "used")),
      sliding_pages_free(KvPages(registry, "sliding", "free")),
      kv_usage_ratio(registry.Gauge("facet_kv_usage_ratio",
                                    "Share of pages in use, of the pool that is fuller.")),
      pulled_pages(Pulled(registry, "pulled")),
      missed_pages(Pulled(registry, "missed")),
      pulled_bytes(registry.Counter("facet_pulled_bytes_total", "Of pages pulled.")),
      draining(registry.Gauge("facet_engine_draining", "1 while no new request is taken.")) {
  for (const v1::FinishReason reason :
       {v1::FINISH_REASON_STOP, v1::FINISH_REASON_LENGTH, v1::FINISH_REASON_CANCELLED,
        v1::FINISH_REASON_DEADLINE, v1::FINISH_REASON_ERROR}) {
    requests.Add({{"reason", NameOf(reason)}});
  }
}

void ObserveTimes(const EngineObserver::Tokens& told, prometheus::Histogram& first_token_seconds,
                  prometheus::Histogram& inter_token_seconds) {
  const double took_s = absl::ToDoubleSeconds(told.took);
  if (told.first) return first_token_seconds.Observe(took_s);
  for (int i = 0; i < told.tokens; ++i) inter_token_seconds.Observe(took_s / told.tokens);
}

void EngineMetrics::OnTokens(const Tokens& told) {
  ObserveTimes(told, time_to_first_token_seconds, inter_token_latency_seconds);
  cached_prompt_tokens.Increment(told.cached_tokens);
  computed_prompt_tokens.Increment(told.prompt_tokens - told.cached_tokens);
  generated_tokens.Increment(told.tokens);
  drafted_tokens.Increment(told.drafts_proposed);
  accepted_draft_tokens.Increment(told.drafts_accepted);
}

void EngineMetrics::OnEnd(v1::FinishReason reason, const v1::Ledger& ledger) {
  requests.Add({{"reason", NameOf(reason)}}).Increment();
  queue_wait_seconds.Observe(static_cast<double>(ledger.queue_us()) / 1e6);
  prefill_seconds.Observe(static_cast<double>(ledger.prefill_us()) / 1e6);
  decode_seconds.Observe(static_cast<double>(ledger.decode_us()) / 1e6);
}

void EngineMetrics::OnLoad(const v1::Load& load) {
  requests_running.Set(load.running_requests());
  requests_waiting.Set(load.waiting_requests());
  prefill_tokens_waiting.Set(static_cast<double>(load.prefill_tokens_waiting()));
  generated_tokens_per_s.Set(load.generated_tokens_per_s());
  full_pages_free.Set(load.full_pages_free());
  full_pages_used.Set(load.full_pages_total() - load.full_pages_free());
  sliding_pages_free.Set(load.sliding_pages_free());
  sliding_pages_used.Set(load.sliding_pages_total() - load.sliding_pages_free());
  kv_usage_ratio.Set(KvUsageRatio(load));
  RaiseTo(pulled_pages, load.pulled_pages());
  RaiseTo(missed_pages, load.missed_pages());
  RaiseTo(pulled_bytes, load.pulled_bytes());
  draining.Set(load.draining() ? 1 : 0);
}

}  // namespace facet
