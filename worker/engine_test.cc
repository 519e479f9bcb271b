#include "worker/engine.h"

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/check.h"
#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/scorer.h"
#include "worker/testing/test_engine.h"

namespace facet {
namespace {

using ::facet::testing::EngineShape;
using ::facet::testing::ExpectSameAnswer;
using ::facet::testing::RandomRequests;
using ::facet::testing::Request;
using ::facet::testing::Result;
using ::facet::testing::Results;
using ::facet::testing::StatusIs;
using ::facet::testing::TestEngine;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

// The law of serving: the same request gives the same tokens alone, among 31 others, in other
// chunks, and after preemption.
TEST(EngineTest, TokensDoNotDependOnCompany) {
  const std::vector<v1::GenerateRequest> requests = RandomRequests(32, 200, 24);
  std::vector<Result> alone;
  {
    EngineShape setup;
    setup.step_tokens_max = 256;
    TestEngine lone(setup);
    lone.engine->Start();
    for (size_t i = 0; i < requests.size(); ++i) alone.push_back(lone.Run(requests[i], i));
  }
  EngineShape crowd, tight, swapping;
  // Pages for a handful of these sequences: the others wait or are preempted.
  tight.kv_bytes = 2 << 20;
  tight.context_tokens_max = 256;
  tight.step_tokens_max = 40;
  swapping = tight;
  swapping.tiers.host_bytes = 16 << 20;
  int preemptions = 0, restored_tokens = 0;
  for (const EngineShape& setup : {crowd, tight, swapping}) {
    TestEngine together(setup);
    for (size_t i = 0; i < requests.size(); ++i) {
      EXPECT_OK(together.engine->Submit(requests[i], together.results, i));
    }
    together.engine->Start();
    for (size_t i = 0; i < requests.size(); ++i) {
      const Result result = together.results->Wait(i);
      EXPECT_EQ(result.tokens, alone[i].tokens) << "request " << i;
      EXPECT_EQ(result.finish_reason, alone[i].finish_reason);
      EXPECT_EQ(result.finishes, 1);
      preemptions += static_cast<int>(result.ledger.preemptions());
      restored_tokens += static_cast<int>(result.ledger.restored_tokens());
      EXPECT_TRUE(setup.tiers.host_bytes > 0 || result.ledger.restored_tokens() == 0);
    }
  }
  EXPECT_GT(restored_tokens, 0) << "no preempted request came back from host memory";
  EXPECT_GT(preemptions, 0) << "the tight engine was not tight";
}

// Given requests that ask how likely their prompts were, expect what a score of the same tokens
// gives, bit for bit: alone, among others, with their prefixes cached, after preemption, beside
// drafts. What they generate is as without.
TEST(EngineTest, PromptLogprobsAreThoseOfAScore) {
  std::vector<v1::GenerateRequest> requests = RandomRequests(16, 200, 24);
  // Every other one, so that they stand among requests of the usual kind.
  for (size_t i = 0; i < requests.size(); i += 2) requests[i].set_prompt_logprobs(i % 4);
  std::vector<Score> scores;
  std::vector<Result> plain;
  {
    TestEngine test;
    for (const v1::GenerateRequest& request : requests) {
      const std::vector<int32_t> tokens(request.prompt_tokens().begin(),
                                        request.prompt_tokens().end());
      auto score =
          BlockingScore(*test.model->runner, *test.model->cache, test.model->config().vocab_size,
                        tokens, static_cast<int>(request.prompt_logprobs()));
      ASSERT_OK(score);
      scores.push_back(*std::move(score));
    }
    test.engine->Start();
    for (size_t i = 0; i < requests.size(); ++i) {
      v1::GenerateRequest request = requests[i];
      request.clear_prompt_logprobs();
      plain.push_back(test.Run(request, i));
    }
  }
  const auto expect_scored = [&](size_t i, const Result& result) {
    EXPECT_EQ(result.tokens, plain[i].tokens) << "request " << i;
    if (!requests[i].has_prompt_logprobs()) {
      EXPECT_THAT(result.prompt_logprobs, SizeIs(0));
      return;
    }
    ASSERT_THAT(result.prompt_logprobs, SizeIs(requests[i].prompt_tokens_size() - 1));
    for (size_t k = 0; k < result.prompt_logprobs.size(); ++k) {
      const v1::TokenLogprobs& logprobs = result.prompt_logprobs[k];
      EXPECT_EQ(logprobs.logprob(), scores[i].logprobs[k + 1]) << i << " " << k;
      ASSERT_EQ(logprobs.top_ids_size(), static_cast<int>(requests[i].prompt_logprobs()));
      for (int top = 0; top < logprobs.top_ids_size(); ++top) {
        EXPECT_EQ(static_cast<int32_t>(logprobs.top_ids(top)), scores[i].top[k][top].id);
        EXPECT_EQ(logprobs.top_logprobs(top), scores[i].top[k][top].logprob);
      }
    }
  };
  EngineShape crowd, tight, drafting;
  tight.kv_bytes = 2 << 20;
  tight.context_tokens_max = 256;
  tight.step_tokens_max = 40;
  tight.running_requests_max = 12;
  drafting.drafts_max = 4;
  int preemptions = 0;
  for (const EngineShape& setup : {crowd, tight, drafting}) {
    TestEngine test(setup);
    test.engine->Start();
    // The second time their prefixes are cached.
    for (const uint64_t round : {0, 100}) {
      for (size_t i = 0; i < requests.size(); ++i) {
        EXPECT_OK(test.engine->Submit(requests[i], test.results, round + i));
      }
      for (size_t i = 0; i < requests.size(); ++i) {
        const Result result = test.results->Wait(round + i);
        expect_scored(i, result);
        preemptions += static_cast<int>(result.ledger.preemptions());
      }
    }
  }
  EXPECT_GT(preemptions, 0) << "the tight engine was not tight";
}

// Given prompt_logprobs where they cannot be, expect errors that name the field.
TEST(EngineTest, RefusesPromptLogprobsThatCannotBe) {
  TestEngine test;
  v1::GenerateRequest request = Request({2, 110}, 5);
  request.set_prompt_logprobs(21);
  EXPECT_THAT(test.engine->Submit(request, test.results, 1),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("prompt_logprobs is 21")));
  request.set_prompt_logprobs(1);
  request.add_resume_from(110);
  EXPECT_THAT(test.engine->Submit(request, test.results, 1),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("prompt_logprobs goes")));
}

// Given a drafter that is often right, expect fewer steps, and each request's tokens, log
// probabilities and end as without one: greedy, sampled with a seed, with penalties, at stop ids.
TEST(EngineTest, DraftsChangeNothingButTheSteps) {
  std::vector<v1::GenerateRequest> requests = RandomRequests(24, 100, 40);
  for (size_t i = 0; i < requests.size(); ++i) {
    v1::Sampling& sampling = *requests[i].mutable_sampling();
    sampling.set_want_logprobs(i % 2 == 0);
    sampling.set_top_logprobs(i % 2 == 0 ? 3 : 0);
    if (i % 5 == 0) sampling.set_repetition_penalty(1.3f);
    if (i % 5 == 1) sampling.set_presence_penalty(1.0f);
  }
  std::vector<Result> plain;
  {
    TestEngine test;
    test.engine->Start();
    for (size_t i = 0; i < requests.size(); ++i) {
      plain.push_back(test.Run(requests[i], i));
      if (i % 6 != 3) continue;
      requests[i].add_stop_tokens(plain[i].tokens[plain[i].tokens.size() / 2]);
      plain[i] = test.Run(requests[i], 1000 + i);
    }
  }
  EngineShape shape;
  shape.drafts_max = 4;
  TestEngine test(shape);
  for (size_t i = 0; i < requests.size(); ++i) {
    std::vector<int32_t> tokens(requests[i].prompt_tokens().begin(),
                                requests[i].prompt_tokens().end());
    tokens.insert(tokens.end(), plain[i].tokens.begin(), plain[i].tokens.end());
    test.drafter->Tell(tokens);
  }
  test.engine->Start();
  uint32_t proposed = 0, accepted = 0;
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_OK(test.engine->Submit(requests[i], test.results, i));
  }
  for (size_t i = 0; i < requests.size(); ++i) {
    const Result result = test.results->Wait(i);
    ExpectSameAnswer(result, plain[i]);
    EXPECT_LE(result.ledger.drafts_accepted(), result.ledger.drafts_proposed());
    proposed += result.ledger.drafts_proposed();
    accepted += result.ledger.drafts_accepted();
  }
  EXPECT_GT(accepted, 100);
  EXPECT_LT(accepted, proposed);
}

// Given tokens that were given out already, expect the answer to go on after them, wherever it was
// broken off, greedy and sampled.
TEST(EngineTest, ResumesAnAnswer) {
  TestEngine test;
  test.engine->Start();
  v1::GenerateRequest request = Request({2, 300, 410, 97}, 30);
  for (const float temperature : {0.0f, 1.0f}) {
    request.mutable_sampling()->set_temperature(temperature);
    request.mutable_sampling()->set_seed(11);
    request.mutable_sampling()->set_frequency_penalty(0.5f);
    const Result whole = test.Run(request, 100);
    for (const int broken : {1, 7, 29}) {
      v1::GenerateRequest resumed = request;
      resumed.mutable_resume_from()->Add(whole.tokens.begin(), whole.tokens.begin() + broken);
      const Result rest = test.Run(resumed, 100 + broken);
      EXPECT_EQ(rest.tokens,
                std::vector<uint32_t>(whole.tokens.begin() + broken, whole.tokens.end()));
      EXPECT_EQ(rest.finish_reason, whole.finish_reason);
      EXPECT_EQ(rest.ledger.generated_tokens(), 30 - broken);
    }
  }
}

// Given one place and requests of three priorities that wait for it, expect the greater first.
TEST(EngineTest, ServesByPriority) {
  EngineShape shape;
  shape.running_requests_max = 1;
  TestEngine test(shape);
  for (const int priority : {-1, 0, 5}) {
    v1::GenerateRequest request = Request({2, 300}, 3);
    request.set_priority(priority);
    EXPECT_OK(test.engine->Submit(request, test.results, 10 + priority));
  }
  // Each has ended when the clock says so many steps: a prefill and two decodes.
  std::vector<int> order;
  for (int step = 0; step < 9; ++step) {
    test.engine->RunOneStep();
    for (const int priority : {-1, 0, 5}) {
      if (test.results->finished(10 + priority) && !absl::c_linear_search(order, priority)) {
        order.push_back(priority);
      }
    }
  }
  EXPECT_THAT(order, ElementsAre(5, 0, -1));
}

// Given a request that runs when one of greater priority comes and there is one place, expect it to
// give way, and to end with the tokens of an undisturbed run.
TEST(EngineTest, PriorityPreempts) {
  EngineShape shape;
  shape.running_requests_max = 1;
  TestEngine test(shape);
  const v1::GenerateRequest low = Request({2, 300}, 12);
  EXPECT_OK(test.engine->Submit(low, test.results, 1));
  for (int step = 0; step < 5; ++step) test.engine->RunOneStep();
  v1::GenerateRequest high = Request({2, 301}, 3);
  high.set_priority(1);
  EXPECT_OK(test.engine->Submit(high, test.results, 2));
  while (!test.results->finished(2)) test.engine->RunOneStep();
  EXPECT_FALSE(test.results->finished(1));
  while (!test.results->finished(1)) test.engine->RunOneStep();
  const Result disturbed = test.results->Wait(1);
  EXPECT_EQ(disturbed.ledger.preemptions(), 1);
  EXPECT_OK(test.engine->Submit(low, test.results, 3));
  while (!test.results->finished(3)) test.engine->RunOneStep();
  EXPECT_EQ(disturbed.tokens, test.results->Wait(3).tokens);
}

// Given a clock that moves on, expect the ledger's times to add up to all that passed.
TEST(EngineTest, LedgerTimesAddUp) {
  TestEngine test;
  test.now_ms = 5;
  EXPECT_OK(test.engine->Submit(Request({2, 300}, 4), test.results, 1));
  test.now_ms = 12;
  while (!test.results->finished(1)) {
    test.engine->RunOneStep();
    test.now_ms += 10;
  }
  const v1::Ledger ledger = test.results->Wait(1).ledger;
  EXPECT_EQ(ledger.queue_us(), 7000);
  // Its last step ended before the clock moved once more.
  EXPECT_EQ(ledger.queue_us() + ledger.prefill_us() + ledger.decode_us(),
            static_cast<uint64_t>(test.now_ms - 10 - 5) * 1000);
}

// Given a stop id, expect the stream to end with it.
TEST(EngineTest, EndsAtAStopId) {
  TestEngine test;
  test.engine->Start();
  const Result free = test.Run(Request({2, 300, 410}, 8), 1);
  ASSERT_THAT(free.tokens, SizeIs(8));
  EXPECT_EQ(free.finish_reason, v1::FINISH_REASON_LENGTH);
  v1::GenerateRequest request = Request({2, 300, 410}, 8);
  request.add_stop_tokens(free.tokens[2]);
  const Result stopped = test.Run(request, 2);
  EXPECT_EQ(stopped.finish_reason, v1::FINISH_REASON_STOP);
  EXPECT_LE(stopped.tokens.size(), 3);
  EXPECT_EQ(stopped.tokens.back(), free.tokens[2]);
  EXPECT_EQ(stopped.ledger.generated_tokens(), stopped.tokens.size());
}

// Given a context that fills up, expect the end with reason length.
TEST(EngineTest, EndsWhenTheContextIsFull) {
  EngineShape setup;
  setup.context_tokens_max = 64;
  TestEngine test(setup);
  test.engine->Start();
  const Result result = test.Run(Request({2, 300}, 1000));
  EXPECT_THAT(result.tokens, SizeIs(62));
  EXPECT_EQ(result.finish_reason, v1::FINISH_REASON_LENGTH);
}

// Given a cancellation in mid-stream, expect the end within a step, and the others to go on.
TEST(EngineTest, CancelEndsOneRequest) {
  TestEngine test;
  test.engine->Start();
  EXPECT_OK(test.engine->Submit(Request({2, 300}, 900), test.results, 1));
  EXPECT_OK(test.engine->Submit(Request({2, 301}, 50), test.results, 2));
  test.results->WaitForTokens(1, 3);
  test.engine->Cancel(test.results, 1);
  EXPECT_EQ(test.results->Wait(1).finish_reason, v1::FINISH_REASON_CANCELLED);
  EXPECT_THAT(test.results->Wait(2).tokens, SizeIs(50));
  test.engine->Cancel(test.results, 1);
  test.engine->Cancel(test.results, 77);
  EXPECT_THAT(test.Run(Request({2, 302}, 2), 3).tokens, SizeIs(2));
}

// Given a sink that goes away, expect all of its requests, running and waiting, to end.
TEST(EngineTest, CancelAllEndsASinksRequests) {
  EngineShape setup;
  setup.running_requests_max = 2;
  TestEngine test(setup);
  test.engine->Start();
  for (uint64_t id = 1; id <= 5; ++id) {
    EXPECT_OK(test.engine->Submit(Request({2, 300}, 900), test.results, id));
  }
  test.results->WaitForTokens(1, 1);
  test.engine->CancelAll(test.results);
  for (uint64_t id = 1; id <= 5; ++id) {
    EXPECT_EQ(test.results->Wait(id).finish_reason, v1::FINISH_REASON_CANCELLED);
  }
  EXPECT_TRUE(test.engine->BlockingWaitIdle(absl::Seconds(10)));
}

// Given a sink that its owner lets go of while its cancellation waits, expect it to live until the
// engine has seen to it: a new sink in its place would have its requests cancelled.
TEST(EngineTest, HoldsASinkUntilItsCancellationWasTaken) {
  TestEngine test;
  auto sink = std::make_shared<Results>();
  const std::weak_ptr<Results> watched = sink;
  test.engine->CancelAll(sink);
  test.engine->Cancel(sink, 1);
  sink.reset();
  EXPECT_FALSE(watched.expired());
  test.engine->Start();
  EXPECT_EQ(test.Run(Request({2, 300}, 2)).finish_reason, v1::FINISH_REASON_LENGTH);
  EXPECT_TRUE(watched.expired());
}

// Given a deadline that passes, expect reason deadline and the tokens until then.
TEST(EngineTest, DeadlineEndsARequest) {
  TestEngine test;
  test.engine->Start();
  v1::GenerateRequest request = Request({2, 300}, 900);
  request.set_deadline_ms(1000);
  EXPECT_OK(test.engine->Submit(request, test.results, 1));
  test.results->WaitForTokens(1, 2);
  test.now_ms = 1000;
  const Result result = test.results->Wait(1);
  EXPECT_EQ(result.finish_reason, v1::FINISH_REASON_DEADLINE);
  EXPECT_GE(result.tokens.size(), 2);
}

// Given bad requests, expect an error that names the field, and nothing taken.
TEST(EngineTest, RefusesBadRequests) {
  TestEngine test;
  const auto expect = [&](const v1::GenerateRequest& request, const std::string& what) {
    EXPECT_THAT(test.engine->Submit(request, test.results, 1),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(what)));
  };
  expect(Request({}, 1), "prompt_tokens is empty");
  expect(Request({2, 2048}, 1), "prompt_tokens[1] is 2048");
  expect(Request({2}, 0), "tokens_max");
  expect(Request(std::vector<uint32_t>(1024, 5), 1), "prompt_tokens has 1024");
  v1::GenerateRequest request = Request({2}, 1);
  request.add_stop_tokens(5000);
  expect(request, "stop_tokens");
  request = Request({2}, 1);
  request.mutable_sampling()->set_temperature(std::nanf(""));
  expect(request, "temperature");
  request = Request({2}, 3);
  for (int i = 0; i < 3; ++i) request.add_resume_from(5);
  expect(request, "resume_from has 3");
  request = Request({2}, 3);
  request.add_resume_from(2048);
  expect(request, "resume_from[0] is 2048");
  request = Request({2}, 3);
  request.add_stop_tokens(7);
  request.add_resume_from(7);
  expect(request, "resume_from holds the stop token 7");
  request = Request({2}, 1);
  request.set_adapter("pirate");
  expect(request, "adapter 'pirate'");
  request = Request(std::vector<uint32_t>(130, 5), 1);
  request.add_page_keys(std::string(16, 'x'));
  expect(request, "page_keys[0]");
  request = Request({2}, 1);
  request.add_page_keys(std::string(16, 'x'));
  expect(request, "page_keys has 1");
  request = Request({2}, 1);
  (*request.mutable_sampling()->mutable_logit_bias())[9999] = 1;
  expect(request, "logit_bias");
  request = Request(std::vector<uint32_t>(130, 5), 1);
  request.mutable_kv_source()->set_pages(2);
  expect(request, "kv_source.address has 0 characters");
  request.mutable_kv_source()->set_address(std::string(257, 'a'));
  expect(request, "kv_source.address has 257 characters");
  request.mutable_kv_source()->set_address("127.0.0.1:1");
  request.mutable_kv_source()->set_pages(3);
  expect(request, "kv_source.pages is 3, the prompt has 2");
  request.mutable_kv_source()->set_pages(0);
  expect(request, "kv_source.pages is 0");
}

// Given more requests than may wait, expect the next to be shed, and service after.
TEST(EngineTest, ShedsWhenTooManyWait) {
  EngineShape setup;
  setup.waiting_requests_max = 3;
  TestEngine test(setup);
  for (uint64_t id = 1; id <= 3; ++id) {
    EXPECT_OK(test.engine->Submit(Request({2, 300}, 2), test.results, id));
  }
  EXPECT_THAT(test.engine->Submit(Request({2, 300}, 2), test.results, 4),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("3 requests wait")));
  test.engine->Start();
  for (uint64_t id = 1; id <= 3; ++id) EXPECT_THAT(test.results->Wait(id).tokens, SizeIs(2));
  EXPECT_TRUE(test.engine->BlockingWaitIdle(absl::Seconds(10)));
  EXPECT_OK(test.engine->Submit(Request({2, 300}, 2), test.results, 5));
  test.results->Wait(5);
}

// Given prompts that take several steps, expect the load to say how many of their tokens are still
// to be computed: what is cached does not count.
TEST(EngineTest, LoadTellsThePromptTokensThatWait) {
  TestEngine test;  // 64 tokens a step; nobody but this thread makes steps.
  const std::vector<uint32_t> prompt = std::vector<uint32_t>(200, 7);
  const auto waiting_after_a_step = [&] {
    test.engine->RunOneStep();
    absl::MutexLock lock(&test.load_mutex);
    return test.last_load.prefill_tokens_waiting();
  };
  EXPECT_OK(test.engine->Submit(Request(prompt, 1), test.results, 1));
  EXPECT_EQ(waiting_after_a_step(), 136u);
  EXPECT_EQ(waiting_after_a_step(), 72u);
  EXPECT_EQ(waiting_after_a_step(), 8u);
  EXPECT_EQ(waiting_after_a_step(), 0u);
  ASSERT_TRUE(test.results->finished(1));
  // Three pages are cached now. The first request takes the next step's tokens, the second waits.
  EXPECT_OK(test.engine->Submit(Request(std::vector<uint32_t>(100, 9), 1), test.results, 2));
  EXPECT_OK(test.engine->Submit(Request(prompt, 1), test.results, 3));
  EXPECT_EQ(waiting_after_a_step(), 36u + 8u);
  while (waiting_after_a_step() > 0) {
  }
  EXPECT_TRUE(test.results->finished(2));
  EXPECT_TRUE(test.results->finished(3));
}

// Given a drain, expect new requests refused, taken ones finished, and the load to say so.
TEST(EngineTest, DrainFinishesWhatRuns) {
  TestEngine test;
  test.engine->Start();
  EXPECT_OK(test.engine->Submit(Request({2, 300}, 30), test.results, 1));
  test.engine->Drain();
  EXPECT_THAT(test.engine->Submit(Request({2, 300}, 2), test.results, 2),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("stopping")));
  EXPECT_THAT(test.results->Wait(1).tokens, SizeIs(30));
  EXPECT_TRUE(test.engine->BlockingWaitIdle(absl::Seconds(10)));
  const auto announced = [&]() ABSL_SHARED_LOCKS_REQUIRED(test.load_mutex) {
    return test.last_load.draining() && test.last_load.running_requests() == 0;
  };
  absl::MutexLock lock(&test.load_mutex);
  EXPECT_TRUE(test.load_mutex.AwaitWithTimeout(absl::Condition(&announced), absl::Seconds(10)));
}

// A prompt of `shared` tokens that several requests begin with, and a tail of its own.
v1::GenerateRequest SharedPrefix(int shared, uint32_t tail, uint32_t tokens_max) {
  std::vector<uint32_t> prompt = {2};
  for (int i = 1; i < shared; ++i) prompt.push_back(110 + static_cast<uint32_t>(i * 37 % 1800));
  for (uint32_t i = 0; i < 20; ++i) prompt.push_back(200 + tail + i);
  return Request(prompt, tokens_max);
}

// Given a second request with the same beginning, expect only its tail to be computed, and the
// tokens of an engine that never saw the first.
TEST(EngineTest, ReusesACachedPrefix) {
  std::vector<uint32_t> fresh_tokens;
  {
    TestEngine fresh;
    fresh.engine->Start();
    fresh_tokens = fresh.Run(SharedPrefix(500, 40, 16)).tokens;
  }
  TestEngine test;
  test.engine->Start();
  EXPECT_EQ(test.Run(SharedPrefix(500, 0, 16), 1).ledger.cached_tokens(), 0);
  const Result second = test.Run(SharedPrefix(500, 40, 16), 2);
  EXPECT_EQ(second.ledger.cached_tokens(), 448);
  EXPECT_EQ(second.tokens, fresh_tokens);
  // The whole prompt again: at least its last token is computed.
  const Result again = test.Run(SharedPrefix(500, 40, 16), 3);
  EXPECT_EQ(again.ledger.cached_tokens(), 512);
  EXPECT_EQ(again.tokens, fresh_tokens);
  // Another tenant's salt shares nothing.
  v1::GenerateRequest salted = SharedPrefix(500, 40, 16);
  salted.set_cache_salt("tenant");
  const Result other = test.Run(salted, 4);
  EXPECT_EQ(other.ledger.cached_tokens(), 0);
  EXPECT_EQ(other.tokens, fresh_tokens);
}

// A folder that goes with the test.
class TemporaryFolder {
 public:
  TemporaryFolder() : path_(absl::StrCat(::testing::TempDir(), "/engine_test_XXXXXX")) {
    CHECK_NE(mkdtemp(path_.data()), nullptr);
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Given a prefix that other requests pushed off the device, and a worker that starts again: expect
// its tail alone to be computed each time, the ledger to say where the rest came from, and the
// tokens of an engine that never saw it.
TEST(EngineTest, ReusesAPrefixFromEachTier) {
  const TemporaryFolder folder;
  EngineShape small;
  small.kv_bytes = 3 << 20;
  small.context_tokens_max = 512;
  small.running_requests_max = 2;
  small.tiers.host_bytes = 32 << 20;
  std::vector<uint32_t> fresh_tokens;
  {
    TestEngine fresh;
    fresh.engine->Start();
    fresh_tokens = fresh.Run(SharedPrefix(320, 40, 16)).tokens;
  }
  {
    TestEngine test(small);
    test.engine->Start();
    test.Run(SharedPrefix(320, 0, 16), 1);
    for (uint64_t i = 0; i < 3; ++i) {
      v1::GenerateRequest other = SharedPrefix(440, 0, 1);
      other.set_cache_salt(absl::StrCat(i));
      test.Run(other, 100 + i);
    }
    const Result second = test.Run(SharedPrefix(320, 40, 16), 2);
    EXPECT_EQ(second.tokens, fresh_tokens);
    EXPECT_EQ(second.ledger.cached_tokens(), 320);
    EXPECT_EQ(second.ledger.cached_host_tokens(), 320);
    const Result third = test.Run(SharedPrefix(320, 40, 16), 3);
    EXPECT_EQ(third.tokens, fresh_tokens);
    EXPECT_EQ(third.ledger.cached_device_tokens(), 320);
  }
  EngineShape with_disk = small;
  with_disk.tiers.disk_folder = folder.path();
  with_disk.tiers.disk_bytes = 1 << 30;
  for (int start = 0; start < 3; ++start) {
    TestEngine test(with_disk);
    test.engine->Start();
    const Result result = test.Run(SharedPrefix(320, 40, 16), 1);
    EXPECT_EQ(result.tokens, fresh_tokens);
    EXPECT_EQ(result.ledger.prompt_tokens(), 340);
    EXPECT_EQ(result.ledger.cached_tokens(), start == 0 ? 0 : 320);
    EXPECT_EQ(result.ledger.cached_disk_tokens(), start == 0 ? 0 : 320);
  }
}

// Given prompts that part long before their ends, with room for less than the first one's sliding
// pages, expect the second to be computed whole, as nothing told where it would leave the first,
// and the third to find the shared beginning.
TEST(EngineTest, LearnsWherePromptsPart) {
  EngineShape small;
  small.kv_bytes = 3 << 20;
  small.context_tokens_max = 512;
  small.running_requests_max = 2;
  small.tiers.host_bytes = 32 << 20;
  TestEngine test(small);
  test.engine->Start();
  const auto cached_tokens = [&](uint32_t number) {
    v1::GenerateRequest request = SharedPrefix(64, number, 2);
    for (uint32_t i = 0; i < 380; ++i) request.add_prompt_tokens(300 + (number * 331 + i) % 1500);
    return test.Run(request, number).ledger.cached_tokens();
  };
  EXPECT_EQ(cached_tokens(1), 0);
  EXPECT_EQ(cached_tokens(2), 0);
  EXPECT_EQ(cached_tokens(3), 64);
}

// Given requests with one new prefix at the same time, expect it to be computed once.
TEST(EngineTest, ComputesASharedPrefixOnce) {
  TestEngine test;
  for (uint64_t id = 1; id <= 6; ++id) {
    EXPECT_OK(
        test.engine->Submit(SharedPrefix(640, static_cast<uint32_t>(id), 4), test.results, id));
  }
  test.engine->Start();
  uint32_t cached = 0;
  for (uint64_t id = 1; id <= 6; ++id) cached += test.results->Wait(id).ledger.cached_tokens();
  EXPECT_EQ(cached, 5 * 640);
}

// Given want_logprobs, expect the greedy token to be the first of the top, with its probability.
TEST(EngineTest, GivesLogprobs) {
  TestEngine test;
  test.engine->Start();
  v1::GenerateRequest request = Request({2, 300, 410}, 4);
  request.mutable_sampling()->set_want_logprobs(true);
  request.mutable_sampling()->set_top_logprobs(3);
  const Result result = test.Run(request);
  ASSERT_THAT(result.logprobs, SizeIs(4));
  for (int i = 0; i < 4; ++i) {
    ASSERT_EQ(result.logprobs[i].top_ids_size(), 3);
    EXPECT_EQ(result.logprobs[i].top_ids(0), result.tokens[i]);
    EXPECT_FLOAT_EQ(result.logprobs[i].top_logprobs(0), result.logprobs[i].logprob());
    EXPECT_GE(result.logprobs[i].top_logprobs(0), result.logprobs[i].top_logprobs(1));
    EXPECT_LT(result.logprobs[i].logprob(), 0);
  }
}

// Given an engine that is destroyed while requests run, expect each to end as cancelled.
TEST(EngineTest, DestructionEndsRequests) {
  auto test = std::make_unique<TestEngine>();
  const std::shared_ptr<Results> results = test->results;
  test->engine->Start();
  EXPECT_OK(test->engine->Submit(Request({2, 300}, 900), results, 1));
  results->WaitForTokens(1, 1);
  test.reset();
  EXPECT_EQ(results->Wait(1).finish_reason, v1::FINISH_REASON_CANCELLED);
}

// Given a row of which no id may be chosen, expect an error that says so, and each page back.
TEST(EngineTest, EndsWithAnErrorWhenNoIdMayBeChosen) {
  EngineShape shape;
  shape.suppress_all = true;
  TestEngine test(shape);
  test.engine->Start();
  const Result result = test.Run(Request({2, 700, 701}, 5));
  EXPECT_EQ(result.finish_reason, v1::FINISH_REASON_ERROR);
  EXPECT_THAT(result.error, HasSubstr("no id may be chosen"));
  EXPECT_THAT(result.tokens, SizeIs(0));
  EXPECT_EQ(result.finishes, 1);
}

}  // namespace
}  // namespace facet
