#include "worker/engine.h"

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/check.h"
#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/engine_options.h"
#include "worker/loaded_model.h"

namespace facet {
namespace {

using ::facet::testing::StatusIs;
using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr char kModel[] = "tests/testdata/golden/model.gguf";

struct Result {
  std::vector<uint32_t> tokens;
  std::vector<v1::TokenLogprobs> logprobs;
  v1::FinishReason finish_reason = v1::FINISH_REASON_UNSPECIFIED;
  v1::Ledger ledger;
  int finishes = 0;
};

// Collects what an engine gives, by stream id.
class Results final : public StepSink {
 public:
  void OnStep(std::vector<Output> outputs) override {
    absl::MutexLock lock(&mutex_);
    for (const Output& output : outputs) {
      Result& result = results_[output.stream_id];
      for (const uint32_t token : output.reply.tokens()) result.tokens.push_back(token);
      for (const auto& logprobs : output.reply.logprobs()) result.logprobs.push_back(logprobs);
      if (output.reply.finish_reason() != v1::FINISH_REASON_UNSPECIFIED) {
        result.finish_reason = output.reply.finish_reason();
        result.ledger = output.reply.ledger();
        ++result.finishes;
      }
    }
  }
  Result Wait(uint64_t id) {
    const auto done = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
      const auto found = results_.find(id);
      return found != results_.end() && found->second.finishes > 0;
    };
    absl::MutexLock lock(&mutex_);
    EXPECT_TRUE(mutex_.AwaitWithTimeout(absl::Condition(&done), absl::Minutes(2))) << id;
    return results_[id];
  }
  void WaitForTokens(uint64_t id, size_t count) {
    const auto enough = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
      const auto found = results_.find(id);
      return found != results_.end() && found->second.tokens.size() >= count;
    };
    absl::MutexLock lock(&mutex_);
    EXPECT_TRUE(mutex_.AwaitWithTimeout(absl::Condition(&enough), absl::Minutes(2))) << id;
  }

 private:
  absl::Mutex mutex_;
  std::map<uint64_t, Result> results_ ABSL_GUARDED_BY(mutex_);
};

struct EngineShape {
  int running_requests_max = 32;
  int waiting_requests_max = 64;
  int step_tokens_max = 64;
  int64_t kv_bytes = 64 << 20;
  int context_tokens_max = 1024;
  TierOptions tiers = {};
};

// A tiny random model with an engine on it.
class TestEngine {
 public:
  explicit TestEngine(const EngineShape& setup = {}) : results(std::make_shared<Results>()) {
    LoadOptions options;
    options.threads = 2;
    options.kv = {setup.kv_bytes, setup.context_tokens_max, setup.running_requests_max,
                  setup.step_tokens_max};
    options.tiers = setup.tiers;
    auto loaded = LoadModel(kModel, options);
    EXPECT_OK(loaded);
    model = std::make_unique<LoadedModel>(*std::move(loaded));
    EngineOptions engine_options = EngineOptionsFor(*model);
    engine_options.waiting_requests_max = setup.waiting_requests_max;
    engine_options.clock = [this] { return absl::UnixEpoch() + absl::Milliseconds(now_ms.load()); };
    engine_options.on_load = [this](const v1::Load& load) {
      absl::MutexLock lock(&load_mutex);
      last_load = load;
    };
    engine = std::make_unique<Engine>(engine_options, model->runner.get(), model->cache.get(),
                                      model->host_tier.get(), model->disk_tier.get());
  }

  Result Run(const v1::GenerateRequest& request, uint64_t id = 1) {
    EXPECT_OK(engine->Submit(request, results, id));
    return results->Wait(id);
  }

  // Ends the engine and checks that each page came back.
  ~TestEngine() {
    engine.reset();
    model->cache->pages().CheckInvariants();
    for (const KvPool pool : {KvPool::kFull, KvPool::kSliding}) {
      EXPECT_EQ(model->cache->pages().in_use_count(pool), 0);
      if (model->host_tier == nullptr) continue;
      model->host_tier->slots().CheckInvariants();
      EXPECT_EQ(model->host_tier->slots().in_use_count(pool), 0);
    }
  }

  std::atomic<int64_t> now_ms{0};
  std::shared_ptr<Results> results;  // shared with the engine's requests
  std::unique_ptr<LoadedModel> model;
  absl::Mutex load_mutex;
  v1::Load last_load ABSL_GUARDED_BY(load_mutex);
  std::unique_ptr<Engine> engine;
};

v1::GenerateRequest Request(std::vector<uint32_t> prompt, uint32_t tokens_max) {
  v1::GenerateRequest request;
  request.mutable_prompt_tokens()->Add(prompt.begin(), prompt.end());
  request.set_tokens_max(tokens_max);
  return request;
}

// Requests of many lengths, greedy and sampled, from a seed.
std::vector<v1::GenerateRequest> RandomRequests(int count, int prompt_max, int tokens_max) {
  std::mt19937 random(20);
  std::vector<v1::GenerateRequest> requests;
  for (int i = 0; i < count; ++i) {
    std::vector<uint32_t> prompt = {2};
    const int length = 1 + static_cast<int>(random() % prompt_max);
    for (int k = 1; k < length; ++k) prompt.push_back(110 + random() % 1800);
    v1::GenerateRequest request = Request(prompt, 1 + random() % tokens_max);
    if (i % 2 == 1) {
      v1::Sampling& sampling = *request.mutable_sampling();
      sampling.set_temperature(0.9f);
      sampling.set_top_k(i % 3 == 0 ? 0 : 40);
      sampling.set_top_p(0.95f);
      sampling.set_seed(random());
      if (i % 4 == 1) sampling.set_frequency_penalty(0.5f);
    }
    requests.push_back(request);
  }
  return requests;
}

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
  request = Request({2}, 1);
  (*request.mutable_sampling()->mutable_logit_bias())[9999] = 1;
  expect(request, "logit_bias");
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

}  // namespace
}  // namespace facet
