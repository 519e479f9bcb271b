#include "router/admission/tenant.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/status_matchers.h"
#include "router/api/api_error.h"

namespace facet {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

class TenantTest : public ::testing::Test {
 protected:
  std::shared_ptr<Tenant> Make(TenantOptions options) {
    options.name = "a";
    return std::make_shared<Tenant>(std::move(options), metrics_.OfTenant("a"),
                                    [this] { return now_s_; });
  }
  static void ExpectRefused(const absl::Status& status, const char* limit, int retry_after_s) {
    EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
    EXPECT_EQ(CodeOf(status), limit);
    EXPECT_EQ(RetryAfterSeconds(status), retry_after_s);
    EXPECT_NE(std::string(status.message()).find(limit), std::string::npos) << status;
  }

  RouterMetrics metrics_;
  double now_s_ = 1000;
};

// Given two at the same time allowed, expect the third refused until one ends.
TEST_F(TenantTest, BoundsConcurrentRequests) {
  TenantOptions options;
  options.concurrent_requests = 2;
  const std::shared_ptr<Tenant> tenant = Make(options);
  auto one = TenantRequest::Begin(tenant), two = TenantRequest::Begin(tenant);
  ASSERT_OK(one);
  ASSERT_OK(two);
  ExpectRefused(TenantRequest::Begin(tenant).status(), "concurrent_requests", 1);
  *one = nullptr;
  EXPECT_OK(TenantRequest::Begin(tenant));
  EXPECT_EQ(metrics_.OfTenant("a").shed_requests->Value(), 1);
}

// Given three a minute, expect the fourth refused until the time that it is told, and headers that
// say the same.
TEST_F(TenantTest, BoundsRequestsAMinute) {
  TenantOptions options;
  options.requests_per_minute = 3;
  const std::shared_ptr<Tenant> tenant = Make(options);
  for (int i = 0; i < 2; ++i) ASSERT_OK(TenantRequest::Begin(tenant));
  const auto last = TenantRequest::Begin(tenant);
  ASSERT_OK(last);
  EXPECT_THAT((*last)->RateLimitHeaders(), ElementsAre(Pair("x-ratelimit-limit-requests", "3"),
                                                       Pair("x-ratelimit-remaining-requests", "0"),
                                                       Pair("x-ratelimit-reset-requests", "1m")));
  ExpectRefused(TenantRequest::Begin(tenant).status(), "requests_per_minute", 20);
  now_s_ += 19.5;
  ExpectRefused(TenantRequest::Begin(tenant).status(), "requests_per_minute", 1);
  now_s_ += 0.5;
  EXPECT_OK(TenantRequest::Begin(tenant));
}

// Given requests that cost less and more than was thought, expect what they did cost to count.
TEST_F(TenantTest, SettlesTokens) {
  TenantOptions options;
  options.tokens_per_minute = 600;
  const std::shared_ptr<Tenant> tenant = Make(options);
  {
    const auto request = TenantRequest::Begin(tenant);
    ASSERT_OK((*request)->TakeTokens(500));
    ExpectRefused((*request)->TakeTokens(200), "tokens_per_minute", 10);
    (*request)->SetUsedTokens(100);
  }
  const auto next = TenantRequest::Begin(tenant);
  EXPECT_THAT((*next)->RateLimitHeaders(), ElementsAre(Pair("x-ratelimit-limit-tokens", "600"),
                                                       Pair("x-ratelimit-remaining-tokens", "500"),
                                                       Pair("x-ratelimit-reset-tokens", "10s")));
  ASSERT_OK((*next)->TakeTokens(400));
  {
    const auto longer = TenantRequest::Begin(tenant);
    ASSERT_OK((*longer)->TakeTokens(100));
    (*longer)->SetUsedTokens(400);
  }
  // 300 too many were used.
  ExpectRefused((*next)->TakeTokens(1), "tokens_per_minute", 31);
}

// Given no limits, expect all to pass, and no headers.
TEST_F(TenantTest, MayBeUnlimited) {
  const std::shared_ptr<Tenant> tenant = Make(TenantOptions());
  std::vector<std::shared_ptr<TenantRequest>> requests;
  for (int i = 0; i < 1000; ++i) {
    auto request = TenantRequest::Begin(tenant);
    ASSERT_OK(request);
    ASSERT_OK((*request)->TakeTokens(1e9));
    requests.push_back(*std::move(request));
  }
  EXPECT_THAT(requests[0]->RateLimitHeaders(), IsEmpty());
}

// Given bounds of priority, models and a cache of its own, expect requests held to them; given new
// ones, expect them for requests that begin later.
TEST_F(TenantTest, HoldsRequestsToItsOptions) {
  TenantOptions options;
  options.priority_min = -1;
  options.priority_max = 2;
  options.models = {"gemma", "gemma:pirate"};
  options.requests_per_minute = 100;
  const std::shared_ptr<Tenant> tenant = Make(options);
  const auto request = *TenantRequest::Begin(tenant);
  EXPECT_EQ(request->PriorityOf(-5), -1);
  EXPECT_EQ(request->PriorityOf(1), 1);
  EXPECT_EQ(request->PriorityOf(9), 2);
  EXPECT_OK(request->CheckModel("gemma:pirate"));
  const absl::Status refused = request->CheckModel("gemma:other");
  EXPECT_TRUE(absl::IsPermissionDenied(refused));
  EXPECT_EQ(ParamOf(refused), "model");
  EXPECT_EQ(request->cache_salt(), "tenant a");
  options.name = "a";
  options.share_cache = true;
  options.models = {};
  options.requests_per_minute = 2;
  tenant->Update(options);
  EXPECT_OK(request->CheckModel("gemma"));
  const auto later = *TenantRequest::Begin(tenant);
  EXPECT_EQ(later->cache_salt(), "");
  EXPECT_TRUE(absl::IsPermissionDenied(later->CheckModel("gemma")));
  EXPECT_FALSE(TenantRequest::Begin(tenant).ok());
}

}  // namespace
}  // namespace facet
