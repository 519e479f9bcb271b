#include "worker/vllm_metrics.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "worker/engine_metrics.h"

namespace facet {
namespace {

using Buckets = prometheus::Histogram::BucketBoundaries;

// vLLM's own, so that a query over both gives one curve.
const Buckets& FirstTokenBuckets() {
  static const Buckets& buckets =
      *new Buckets{0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75,
                   1,     2.5,   5,    7.5,  10,   20,   40,   80,  160,  640, 2560};
  return buckets;
}
const Buckets& TokenBuckets() {
  static const Buckets& buckets =
      *new Buckets{0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5,
                   0.75, 1,     2.5,  5,     7.5, 10,   20,  40,  80};
  return buckets;
}
const Buckets& RequestBuckets() {
  static const Buckets& buckets = *new Buckets{0.3, 0.5, 0.8, 1,  1.5, 2,   2.5, 5,   10,   15,  20,
                                               30,  40,  50,  60, 120, 240, 480, 960, 1920, 7680};
  return buckets;
}

const char* NameOf(v1::FinishReason reason) {
  switch (reason) {
    case v1::FINISH_REASON_STOP:
      return "stop";
    case v1::FINISH_REASON_LENGTH:
      return "length";
    case v1::FINISH_REASON_CANCELLED:
    case v1::FINISH_REASON_DEADLINE:
      return "abort";
    default:
      return "error";
  }
}

// Registers families whose series have the model's name.
struct Maker {
  MetricRegistry& registry;
  const prometheus::Labels& model;

  prometheus::Gauge& Gauge(const char* name, const char* help) const {
    return registry.Gauges(name, help).Add(model);
  }
  prometheus::Counter& Counter(const char* name, const char* help) const {
    return registry.Counters(name, help).Add(model);
  }
  prometheus::Histogram& Histogram(const char* name, const char* help,
                                   const Buckets& buckets) const {
    return registry.Histograms(name, help).Add(model, buckets);
  }
};

prometheus::Labels With(prometheus::Labels labels, const prometheus::Labels& more) {
  labels.insert(more.begin(), more.end());
  return labels;
}

}  // namespace

VllmMetrics::VllmMetrics(MetricRegistry& registry, const Shape& shape)
    : model_({{"model_name", shape.model_name}}),
      requests_running_(Maker{registry, model_}.Gauge("vllm:num_requests_running", "Running.")),
      requests_waiting_(Maker{registry, model_}.Gauge("vllm:num_requests_waiting", "Waiting.")),
      kv_usage_(Maker{registry, model_}.Gauge("vllm:kv_cache_usage_perc",
                                              "Share of pages in use; 1 is all.")),
      prefix_queries_(Maker{registry, model_}.Counter("vllm:prefix_cache_queries_total",
                                                      "Tokens that were looked for in the cache.")),
      prefix_hits_(Maker{registry, model_}.Counter("vllm:prefix_cache_hits_total",
                                                   "Tokens that were found in the cache.")),
      prompt_tokens_(
          Maker{registry, model_}.Counter("vllm:prompt_tokens_total", "Tokens of prompts.")),
      generated_tokens_(
          Maker{registry, model_}.Counter("vllm:generation_tokens_total", "Tokens generated.")),
      preemptions_(Maker{registry, model_}.Counter("vllm:num_preemptions_total",
                                                   "Times that a request gave its pages back.")),
      drafted_tokens_(Maker{registry, model_}.Counter("vllm:spec_decode_num_draft_tokens_total",
                                                      "Tokens guessed and verified.")),
      accepted_draft_tokens_(Maker{registry, model_}.Counter(
          "vllm:spec_decode_num_accepted_tokens_total", "Those of them that were right.")),
      successes_(registry.Counters("vllm:request_success_total", "Requests that ended, by why.")),
      time_to_first_token_seconds_(Maker{registry, model_}.Histogram(
          "vllm:time_to_first_token_seconds", "From arrival to the first token.",
          FirstTokenBuckets())),
      inter_token_latency_seconds_(Maker{registry, model_}.Histogram(
          "vllm:inter_token_latency_seconds", "Between two tokens.", TokenBuckets())),
      request_seconds_(Maker{registry, model_}.Histogram(
          "vllm:e2e_request_latency_seconds", "From arrival to the end.", RequestBuckets())),
      queue_seconds_(Maker{registry, model_}.Histogram(
          "vllm:request_queue_time_seconds", "From arrival to the first step.", RequestBuckets())),
      prefill_seconds_(Maker{registry, model_}.Histogram("vllm:request_prefill_time_seconds",
                                                         "From the first step to the first token.",
                                                         RequestBuckets())),
      decode_seconds_(Maker{registry, model_}.Histogram("vllm:request_decode_time_seconds",
                                                        "From the first token to the last.",
                                                        RequestBuckets())),
      adapters_max_(shape.adapters_max),
      adapters_(registry.Gauges("vllm:lora_requests_info",
                                "When the adapters were told, with their names.")) {
  for (const char* reason : {"stop", "length", "abort", "error"}) {
    successes_.Add(With(model_, {{"finished_reason", reason}}));
  }
  registry.Gauges("vllm:cache_config_info", "1, with the cache's configuration.")
      .Add(With(model_, {{"block_size", absl::StrCat(shape.page_tokens)},
                         {"num_gpu_blocks", absl::StrCat(shape.pages)},
                         {"cache_dtype", shape.kv_format},
                         {"enable_prefix_caching", "True"}}))
      .Set(1);
  OnNews({}, {});
}

void VllmMetrics::OnTokens(const Tokens& told) {
  ObserveTimes(told, time_to_first_token_seconds_, inter_token_latency_seconds_);
  prompt_tokens_.Increment(told.prompt_tokens);
  prefix_queries_.Increment(told.prompt_tokens);
  prefix_hits_.Increment(told.cached_tokens);
  generated_tokens_.Increment(told.tokens);
  drafted_tokens_.Increment(told.drafts_proposed);
  accepted_draft_tokens_.Increment(told.drafts_accepted);
}

void VllmMetrics::OnEnd(v1::FinishReason reason, const v1::Ledger& ledger) {
  successes_.Add(With(model_, {{"finished_reason", NameOf(reason)}})).Increment();
  const double queue_s = static_cast<double>(ledger.queue_us()) / 1e6;
  const double prefill_s = static_cast<double>(ledger.prefill_us()) / 1e6;
  const double decode_s = static_cast<double>(ledger.decode_us()) / 1e6;
  queue_seconds_.Observe(queue_s);
  prefill_seconds_.Observe(prefill_s);
  decode_seconds_.Observe(decode_s);
  request_seconds_.Observe(queue_s + prefill_s + decode_s);
}

void VllmMetrics::OnLoad(const v1::Load& load) {
  requests_running_.Set(load.running_requests());
  requests_waiting_.Set(load.waiting_requests());
  kv_usage_.Set(KvUsageRatio(load));
}

void VllmMetrics::OnNews(const v1::Load& load, absl::Span<const PageEvent> /*pages*/) {
  const std::string names = absl::StrJoin(
      load.adapters(), ",",
      [](std::string* out, const v1::AdapterInfo& info) { absl::StrAppend(out, info.name()); });
  absl::MutexLock lock(&mutex_);
  if (held_ != nullptr && names == held_names_) return;
  if (held_ != nullptr) adapters_.Remove(held_);
  held_names_ = names;
  held_ = &adapters_.Add(With(model_, {{"max_lora", absl::StrCat(adapters_max_)},
                                       {"running_lora_adapters", names},
                                       {"waiting_lora_adapters", ""}}));
  held_->Set(absl::ToDoubleSeconds(absl::Now() - absl::UnixEpoch()));
}

}  // namespace facet
