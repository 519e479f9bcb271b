// Requests with LoRA adapters.

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/testing/test_engine.h"

namespace facet {
namespace {

using ::facet::testing::EngineShape;
using ::facet::testing::ExpectSameAnswer;
using ::facet::testing::RandomRequests;
using ::facet::testing::Request;
using ::facet::testing::Result;
using ::facet::testing::StatusIs;
using ::facet::testing::TestEngine;
using ::testing::HasSubstr;

EngineShape WithAdapters() {
  EngineShape shape;
  shape.adapters = {"a", "b"};
  return shape;
}

// Requests of which a third has no adapter, a third each of two.
std::vector<v1::GenerateRequest> MixedRequests() {
  std::vector<v1::GenerateRequest> requests = RandomRequests(30, 200, 24);
  const char* const names[] = {"", "a", "b"};
  for (size_t i = 0; i < requests.size(); ++i) requests[i].set_adapter(names[i % 3]);
  return requests;
}

// The law of serving: the same request with the same adapter gives the same tokens alone, in one
// batch with other adapters and none, in other chunks, after preemption, beside drafts, from tiers,
// and from the cache.
TEST(EngineAdapterTest, TokensDoNotDependOnCompany) {
  const std::vector<v1::GenerateRequest> requests = MixedRequests();
  std::vector<Result> alone;
  {
    EngineShape shape = WithAdapters();
    shape.step_tokens_max = 256;
    TestEngine lone(shape);
    lone.engine->Start();
    for (size_t i = 0; i < requests.size(); ++i) {
      v1::GenerateRequest salted = requests[i];
      salted.set_cache_salt(absl::StrCat(i));
      alone.push_back(lone.Run(salted, i));
    }
  }
  EngineShape tight = WithAdapters(), drafting = WithAdapters();
  tight.kv_bytes = 2 << 20;
  tight.context_tokens_max = 256;
  tight.step_tokens_max = 40;
  tight.tiers.host_bytes = 16 << 20;
  drafting.drafts_max = 4;
  int preemptions = 0, drafts = 0, cached = 0;
  for (const EngineShape& shape : {WithAdapters(), tight, drafting}) {
    TestEngine together(shape);
    together.engine->Start();
    for (const uint64_t round : {0, 100}) {
      for (size_t i = 0; i < requests.size(); ++i) {
        EXPECT_OK(together.engine->Submit(requests[i], together.results, round + i));
      }
      for (size_t i = 0; i < requests.size(); ++i) {
        const Result result = together.results->Wait(round + i);
        EXPECT_EQ(result.tokens, alone[i].tokens) << "request " << i;
        EXPECT_EQ(result.finish_reason, alone[i].finish_reason);
        preemptions += static_cast<int>(result.ledger.preemptions());
        drafts += static_cast<int>(result.ledger.drafts_proposed());
        cached += static_cast<int>(result.ledger.cached_tokens());
      }
    }
  }
  EXPECT_GT(preemptions, 0) << "the tight engine was not tight";
  EXPECT_GT(drafts, 0);
  EXPECT_GT(cached, 0);
}

// Given one prompt with each adapter and with none, expect three answers, none of which uses pages
// of another; again with the first, those of its own.
TEST(EngineAdapterTest, PagesBelongToOneAdapter) {
  TestEngine test(WithAdapters());
  test.engine->Start();
  v1::GenerateRequest request = Request(std::vector<uint32_t>(200, 300), 20);
  std::vector<Result> results;
  for (const char* name : {"a", "b", "", "a", "b", ""}) {
    request.set_adapter(name);
    results.push_back(test.Run(request, results.size()));
  }
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(results[i].ledger.cached_tokens(), 0u);
    EXPECT_NE(results[i].tokens, results[(i + 1) % 3].tokens);
    EXPECT_EQ(results[i + 3].tokens, results[i].tokens);
    EXPECT_EQ(results[i + 3].ledger.cached_tokens(), 192u);
  }
  // Equal contents under another name are the same adapter to the cache.
  ASSERT_OK(test.model->adapters->BlockingLoad("again", test.adapter_path("a")));
  request.set_adapter("again");
  const Result again = test.Run(request, 10);
  EXPECT_EQ(again.tokens, results[0].tokens);
  EXPECT_EQ(again.ledger.cached_tokens(), 192u);
}

// Given an adapter that is unloaded while a request uses it, expect the answer to be whole, the
// memory to be free after it, and the next request to be refused.
TEST(EngineAdapterTest, UnloadedAdapterServesItsRequestsToTheirEnd) {
  TestEngine test(WithAdapters());
  test.engine->Start();
  v1::GenerateRequest request = Request({2, 300, 410}, 400);
  request.set_adapter("a");
  const Result undisturbed = test.Run(request, 1);
  ASSERT_OK(test.engine->Submit(request, test.results, 2));
  test.results->WaitForTokens(2, 3);
  ASSERT_OK(test.model->adapters->Unload("a"));
  EXPECT_THAT(test.engine->Submit(request, test.results, 3),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("adapter 'a'")));
  EXPECT_EQ(test.results->Wait(2).tokens, undisturbed.tokens);
  EXPECT_TRUE(test.engine->BlockingWaitIdle(absl::Minutes(1)));
  EXPECT_EQ(test.model->adapters->bytes_held(), test.model->adapters->Find("b")->bytes);
}

// Given an answer that goes on after a loss, expect its tokens; with the digest of another adapter,
// or one where none is named, a refusal.
TEST(EngineAdapterTest, AnswersGoOnWithTheSameContentsOnly) {
  TestEngine test(WithAdapters());
  test.engine->Start();
  v1::GenerateRequest request = Request({2, 300, 410}, 30);
  request.set_adapter("a");
  request.mutable_sampling()->set_temperature(1);
  request.mutable_sampling()->set_seed(4);
  const Result whole = test.Run(request, 1);
  v1::GenerateRequest rest = request;
  rest.set_adapter_digest(test.model->adapters->Find("a")->digest);
  rest.mutable_resume_from()->Add(whole.tokens.begin(), whole.tokens.begin() + 11);
  const Result resumed = test.Run(rest, 2);
  EXPECT_EQ(resumed.tokens, std::vector<uint32_t>(whole.tokens.begin() + 11, whole.tokens.end()));
  for (const char* name : {"b", ""}) {
    rest.set_adapter(name);
    EXPECT_THAT(test.engine->Submit(rest, test.results, 3),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("adapter_digest")));
  }
}

}  // namespace
}  // namespace facet
