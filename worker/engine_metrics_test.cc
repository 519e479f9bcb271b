#include "worker/engine_metrics.h"

#include <string>

#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/vllm_metrics.h"

namespace facet {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// What both kinds of names are to tell of: a request of 100 prompt tokens, 64 of them cached, that
// got one token after 0.2 s and then 3 in one step of 0.3 s, two of which were drafts; and its end.
void TellOfOneRequest(EngineObserver& observer) {
  EngineObserver::Tokens first;
  first.tokens = 1;
  first.first = true;
  first.took = absl::Milliseconds(200);
  first.prompt_tokens = 100;
  first.cached_tokens = 64;
  observer.OnTokens(first);
  EngineObserver::Tokens next;
  next.tokens = 3;
  next.took = absl::Milliseconds(300);
  next.drafts_proposed = 4;
  next.drafts_accepted = 2;
  observer.OnTokens(next);
  observer.OnPreemption();
  v1::Ledger ledger;
  ledger.set_queue_us(50'000);
  ledger.set_prefill_us(150'000);
  ledger.set_decode_us(300'000);
  observer.OnEnd(v1::FINISH_REASON_STOP, ledger);
  observer.OnEnd(v1::FINISH_REASON_DEADLINE, ledger);
}

v1::Load SomeLoad() {
  v1::Load load;
  load.set_running_requests(3);
  load.set_waiting_requests(2);
  load.set_full_pages_total(100);
  load.set_full_pages_free(75);
  load.set_sliding_pages_total(50);
  load.set_sliding_pages_free(10);
  load.set_pulled_pages(7);
  load.set_draining(true);
  return load;
}

// Given a request's steps and end, expect each family that design and dashboards name.
TEST(EngineMetricsTest, CountsRequests) {
  MetricRegistry registry("worker");
  EngineMetrics metrics(registry);
  TellOfOneRequest(metrics);
  const std::string text = registry.Text();
  for (const char* line :
       {"facet_engine_prompt_tokens_total{cached=\"true\"} 64\n",
        "facet_engine_prompt_tokens_total{cached=\"false\"} 36\n",
        "facet_engine_generated_tokens_total 4\n", "facet_drafted_tokens_total 4\n",
        "facet_accepted_draft_tokens_total 2\n", "facet_engine_preemptions_total 1\n",
        "facet_engine_requests_total{reason=\"stop\"} 1\n",
        "facet_engine_requests_total{reason=\"deadline\"} 1\n",
        "facet_engine_requests_total{reason=\"error\"} 0\n",
        "facet_engine_time_to_first_token_seconds_sum 0.2\n",
        "facet_engine_inter_token_latency_seconds_count 3\n",
        "facet_engine_inter_token_latency_seconds_bucket{le=\"0.1\"} 3\n",
        "facet_engine_queue_wait_seconds_sum 0.1\n"}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
}

// Given loads, expect the newest; sums that the engine tells never count twice.
TEST(EngineMetricsTest, FollowsLoads) {
  MetricRegistry registry("worker");
  EngineMetrics metrics(registry);
  metrics.OnLoad(SomeLoad());
  metrics.OnLoad(SomeLoad());
  const std::string text = registry.Text();
  for (const char* line :
       {"facet_engine_requests_running 3\n", "facet_engine_requests_waiting 2\n",
        "facet_kv_pages{pool=\"full\",state=\"used\"} 25\n",
        "facet_kv_pages{pool=\"full\",state=\"free\"} 75\n",
        "facet_kv_pages{pool=\"sliding\",state=\"used\"} 40\n", "facet_kv_usage_ratio 0.8\n",
        "facet_pulled_pages_total{outcome=\"pulled\"} 7\n", "facet_engine_draining 1\n"}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
}

// Given no load yet, expect no use of pages rather than no number.
TEST(EngineMetricsTest, UsesNoPagesBeforeThereAreAny) { EXPECT_EQ(KvUsageRatio({}), 0); }

// Given the same, expect vLLM's names, labels and finish reasons.
TEST(VllmMetricsTest, TellsTheSameUnderVllmsNames) {
  MetricRegistry registry("worker");
  VllmMetrics metrics(registry, {"gemma", 64, 1000, "bf16", 8});
  TellOfOneRequest(metrics);
  metrics.OnLoad(SomeLoad());
  const std::string text = registry.Text();
  for (const char* line :
       {"vllm:num_requests_running{model_name=\"gemma\"} 3\n",
        "vllm:num_requests_waiting{model_name=\"gemma\"} 2\n",
        "vllm:kv_cache_usage_perc{model_name=\"gemma\"} 0.8\n",
        "vllm:prefix_cache_queries_total{model_name=\"gemma\"} 100\n",
        "vllm:prefix_cache_hits_total{model_name=\"gemma\"} 64\n",
        "vllm:prompt_tokens_total{model_name=\"gemma\"} 100\n",
        "vllm:generation_tokens_total{model_name=\"gemma\"} 4\n",
        "vllm:num_preemptions_total{model_name=\"gemma\"} 1\n",
        "vllm:request_success_total{finished_reason=\"stop\",model_name=\"gemma\"} 1\n",
        "vllm:request_success_total{finished_reason=\"abort\",model_name=\"gemma\"} 1\n",
        "vllm:request_success_total{finished_reason=\"length\",model_name=\"gemma\"} 0\n",
        "vllm:time_to_first_token_seconds_bucket{model_name=\"gemma\",le=\"0.25\"} 1\n",
        "vllm:inter_token_latency_seconds_count{model_name=\"gemma\"} 3\n",
        "vllm:e2e_request_latency_seconds_sum{model_name=\"gemma\"} 1\n",
        "vllm:request_queue_time_seconds_sum{model_name=\"gemma\"} 0.1\n",
        "vllm:request_prefill_time_seconds_count{model_name=\"gemma\"} 2\n",
        "vllm:request_decode_time_seconds_sum{model_name=\"gemma\"} 0.6\n",
        "vllm:spec_decode_num_draft_tokens_total{model_name=\"gemma\"} 4\n",
        "vllm:spec_decode_num_accepted_tokens_total{model_name=\"gemma\"} 2\n"}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
  EXPECT_THAT(text, HasSubstr("vllm:cache_config_info{block_size=\"64\",cache_dtype=\"bf16\","));
}

// Given adapters that come and go, expect one series, with those that are there.
TEST(VllmMetricsTest, NamesTheAdaptersThatAreHeld) {
  MetricRegistry registry("worker");
  VllmMetrics metrics(registry, {"gemma", 64, 1000, "bf16", 8});
  v1::Load load;
  load.add_adapters()->set_name("law");
  metrics.OnNews(load, {});
  load.add_adapters()->set_name("medicine");
  metrics.OnNews(load, {});
  const std::string text = registry.Text();
  EXPECT_THAT(text, HasSubstr("vllm:lora_requests_info{max_lora=\"8\",model_name=\"gemma\","
                              "running_lora_adapters=\"law,medicine\","));
  EXPECT_THAT(text, Not(HasSubstr("running_lora_adapters=\"law\"")));
}

}  // namespace
}  // namespace facet
