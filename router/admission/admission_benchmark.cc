// What admission costs a request: without a limit in the way, with limits, and in a full queue.

#include <benchmark/benchmark.h>

#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "router/admission/admission_queue.h"
#include "router/admission/tenant.h"

namespace facet {
namespace {

// Each request of a tenant with or without limits: begun, its tokens taken, its headers written,
// settled.
void BM_TenantRequest(benchmark::State& state) {
  RouterMetrics metrics;
  TenantOptions options;
  options.name = "a";
  if (state.range(0) > 0) {
    options.requests_per_minute = int64_t{1} << 40;
    options.tokens_per_minute = int64_t{1} << 40;
    options.concurrent_requests = 1000;
  }
  const auto tenant = std::make_shared<Tenant>(options, metrics.OfTenant("a"));
  for (auto _ : state) {
    const auto request = TenantRequest::Begin(tenant);
    if ((*request)->limits_tokens()) benchmark::DoNotOptimize((*request)->TakeTokens(300));
    benchmark::DoNotOptimize((*request)->RateLimitHeaders());
    (*request)->SetUsedTokens(200);
  }
}
BENCHMARK(BM_TenantRequest)->Arg(0)->Arg(1);

// One in and one out of a queue in which so many answers of so many tenants wait.
void BM_PushAndPop(benchmark::State& state) {
  AdmissionQueue queue({.answers_max = 1 << 20, .bytes_max = size_t{1} << 40});
  const auto tenants = static_cast<uint64_t>(state.range(1));
  uint64_t next = 1;
  const auto push = [&] {
    QueuedAnswer answer;
    answer.id = next;
    answer.tenant = absl::StrCat("tenant-", next % tenants);
    answer.tokens = static_cast<double>(100 + next % 77);
    answer.bytes = 2000;
    answer.deadline_s = static_cast<double>(next);
    benchmark::DoNotOptimize(queue.TokensBefore(answer.tenant, 1, answer.deadline_s));
    queue.Push(std::move(answer));
    ++next;
  };
  while (next <= static_cast<uint64_t>(state.range(0))) push();
  for (auto _ : state) {
    push();
    benchmark::DoNotOptimize(
        queue.Pop([](const std::string&, const std::string&) { return true; }));
  }
}
BENCHMARK(BM_PushAndPop)->Args({16, 1})->Args({4096, 1})->Args({4096, 10})->Args({4096, 100});

}  // namespace
}  // namespace facet

BENCHMARK_MAIN();
