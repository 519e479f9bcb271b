#include "worker/engine.h"

#include <atomic>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <random>
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
#include "proto/page_key.h"
#include "worker/engine_options.h"
#include "worker/loaded_model.h"
#include "worker/scorer.h"
#include "worker/testing/guessing_drafter.h"

namespace facet {
namespace {

using ::facet::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr char kModel[] = "tests/testdata/golden/model.gguf";

struct Result {
  std::vector<uint32_t> tokens;
  std::vector<v1::TokenLogprobs> logprobs;
  std::vector<v1::TokenLogprobs> prompt_logprobs;
  v1::FinishReason finish_reason = v1::FINISH_REASON_UNSPECIFIED;
  std::string error;
  v1::Ledger ledger;
  int finishes = 0;
};

// Collects what an engine gives, by stream id.
class Results final : public StepSink {
 public:
  void OnStep(std::vector<Output> outputs) override {
    absl::MutexLock lock(&mutex_);
    for (const Output& output : outputs) {
      for (const uint32_t index : output.need_media) on_need_media(output.stream_id, index);
      Result& result = results_[output.stream_id];
      for (const uint32_t token : output.reply.tokens()) result.tokens.push_back(token);
      for (const auto& logprobs : output.reply.logprobs()) result.logprobs.push_back(logprobs);
      for (const auto& logprobs : output.reply.prompt_logprobs()) {
        result.prompt_logprobs.push_back(logprobs);
      }
      if (output.reply.finish_reason() != v1::FINISH_REASON_UNSPECIFIED) {
        result.finish_reason = output.reply.finish_reason();
        result.error = output.reply.error();
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
  bool finished(uint64_t id) {
    absl::MutexLock lock(&mutex_);
    return results_[id].finishes > 0;
  }
  void WaitForTokens(uint64_t id, size_t count) {
    const auto enough = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
      const auto found = results_.find(id);
      return found != results_.end() && found->second.tokens.size() >= count;
    };
    absl::MutexLock lock(&mutex_);
    EXPECT_TRUE(mutex_.AwaitWithTimeout(absl::Condition(&enough), absl::Minutes(2))) << id;
  }

  // Called on the engine's thread.
  std::function<void(uint64_t id, uint32_t index)> on_need_media;

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
  int drafts_max = 0;  // 0: no drafter
  bool media = false;  // with embedders
  TierOptions tiers = {};
  bool suppress_all = false;  // so that no id may be chosen
};

// A tiny random model with an engine on it.
class TestEngine {
 public:
  explicit TestEngine(const EngineShape& setup = {}) : results(std::make_shared<Results>()) {
    LoadOptions options;
    options.threads = 2;
    options.kv = {setup.kv_bytes, setup.context_tokens_max, setup.running_requests_max,
                  setup.step_tokens_max};
    if (setup.drafts_max > 0) options.assistant = "tests/testdata/golden/assistant.gguf";
    options.drafts_max = setup.drafts_max;
    if (setup.media) options.mmproj = "tests/testdata/golden/mmproj.gguf";
    options.tiers = setup.tiers;
    auto loaded = LoadModel(kModel, options);
    EXPECT_OK(loaded);
    model = std::make_unique<LoadedModel>(*std::move(loaded));
    EngineOptions engine_options = EngineOptionsFor(*model);
    engine_options.waiting_requests_max = setup.waiting_requests_max;
    if (setup.suppress_all) {
      engine_options.suppressed_ids.resize(engine_options.vocab_size);
      std::iota(engine_options.suppressed_ids.begin(), engine_options.suppressed_ids.end(), 0);
    }
    engine_options.clock = [this] { return absl::UnixEpoch() + absl::Milliseconds(now_ms.load()); };
    engine_options.on_load = [this](const v1::Load& load) {
      absl::MutexLock lock(&load_mutex);
      last_load = load;
    };
    if (setup.drafts_max > 0) {
      drafter = std::make_unique<testing::GuessingDrafter>(model->drafter.get(), 5);
    }
    EngineParts parts = PartsOf(*model);
    parts.drafter = drafter.get();
    engine = std::make_unique<Engine>(engine_options, parts);
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
  std::unique_ptr<testing::GuessingDrafter> drafter;  // null without
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

// The parts of a result that must not depend on drafts.
void ExpectSameAnswer(const Result& result, const Result& plain) {
  EXPECT_EQ(result.tokens, plain.tokens);
  EXPECT_EQ(result.finish_reason, plain.finish_reason);
  ASSERT_EQ(result.logprobs.size(), plain.logprobs.size());
  for (size_t i = 0; i < plain.logprobs.size(); ++i) {
    EXPECT_EQ(result.logprobs[i].SerializeAsString(), plain.logprobs[i].SerializeAsString());
  }
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

// A prompt with an image of 6 x 10 patches and a sound between pieces of text. `seed` makes another
// image under the same ids.
v1::GenerateRequest MediaRequest(uint32_t seed, int text_before, uint32_t tokens_max) {
  std::mt19937 random(seed);
  v1::GenerateRequest request = Request({2}, tokens_max);
  const auto add_ids = [&](int count, uint32_t id) {
    for (int i = 0; i < count; ++i) request.add_prompt_tokens(id == 0 ? 110 + i * 7 % 900 : id);
  };
  add_ids(text_before, 0);
  v1::Media& image = *request.add_media();
  image.set_kind(v1::Media::IMAGE);
  image.set_first_token(request.prompt_tokens_size());
  image.set_tokens(60);
  image.set_grid_width(10);
  for (int i = 0; i < 60 * kPatchElements; ++i) image.mutable_data()->push_back(random() % 256);
  add_ids(60, 2042);
  add_ids(9, 0);
  v1::Media& sound = *request.add_media();
  sound.set_kind(v1::Media::AUDIO);
  sound.set_first_token(request.prompt_tokens_size());
  sound.set_tokens(5);
  for (int i = 0; i < 5 * kFrameSamples * 2; ++i) sound.mutable_data()->push_back(random() % 256);
  add_ids(5, 2043);
  add_ids(4, 0);
  return request;
}

// Given prompts with images and sounds, expect the law of serving to hold for them too: alone,
// among others in steps smaller than an image, preempted, and from a cache that ends inside an
// image.
TEST(EngineTest, MediaObeyTheLawOfServing) {
  std::vector<v1::GenerateRequest> requests;
  for (uint32_t i = 0; i < 12; ++i) requests.push_back(MediaRequest(i % 7, 20 + 5 * i, 12));
  std::vector<Result> alone;
  {
    EngineShape shape;
    shape.media = true;
    shape.step_tokens_max = 256;
    TestEngine lone(shape);
    lone.engine->Start();
    for (size_t i = 0; i < requests.size(); ++i) {
      v1::GenerateRequest salted = requests[i];
      salted.set_cache_salt(std::to_string(i));
      alone.push_back(lone.Run(salted, i));
    }
    // The whole prompt again, from the cache.
    const Result again = lone.Run(requests[3], 100), cached = lone.Run(requests[3], 101);
    EXPECT_EQ(again.tokens, alone[3].tokens);
    EXPECT_EQ(cached.tokens, alone[3].tokens);
    EXPECT_EQ(cached.ledger.cached_tokens(), 64u);
    // Another image under the same ids shares nothing that it changes.
    const Result other = lone.Run(MediaRequest(77, 35, 12), 102);
    EXPECT_EQ(other.ledger.cached_tokens(), 0u);
  }
  EngineShape tight;
  tight.media = true;
  tight.step_tokens_max = 32;
  tight.kv_bytes = 4 << 20;
  tight.context_tokens_max = 192;
  TestEngine together(tight);
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_OK(together.engine->Submit(requests[i], together.results, i));
  }
  together.engine->Start();
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_EQ(together.results->Wait(i).tokens, alone[i].tokens) << "request " << i;
  }
  // The same where digests come first, and the data of what no cached page covers when they are
  // asked for.
  TestEngine asking(tight);
  std::atomic<int> asked = 0;
  asking.results->on_need_media = [&](uint64_t id, uint32_t index) {
    ++asked;
    asking.engine->AddMedia(asking.results, id, static_cast<int>(index),
                            requests[id].media(static_cast<int>(index)).data());
  };
  for (size_t i = 0; i < requests.size(); ++i) {
    v1::GenerateRequest request = requests[i];
    for (v1::Media& media : *request.mutable_media()) {
      const MediaDigest digest = DigestOfMedia(media.kind(), media.grid_width(), media.data());
      media.set_digest(std::string(digest.begin(), digest.end()));
      media.clear_data();
    }
    EXPECT_OK(asking.engine->Submit(request, asking.results, i));
  }
  asking.engine->Start();
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_EQ(asking.results->Wait(i).tokens, alone[i].tokens) << "request " << i;
  }
  EXPECT_GE(asked, 14);
  EXPECT_LE(asked, 24);
}

// Given media that do not fit their bytes, the prompt or the model, expect an error that names the
// field.
TEST(EngineTest, RefusesBadMedia) {
  EngineShape shape;
  shape.media = true;
  TestEngine test(shape), text;
  const auto expect = [&](TestEngine& engine, const std::string& what, auto&& change) {
    v1::GenerateRequest request = MediaRequest(1, 10, 2);
    change(request);
    EXPECT_THAT(engine.engine->Submit(request, engine.results, 1),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(what)));
  };
  using R = v1::GenerateRequest&;
  expect(text, "media[0]: this model takes no images", [](R) {});
  expect(test, "media[0].kind", [](R r) { r.mutable_media(0)->clear_kind(); });
  expect(test, "media[0].tokens is 0", [](R r) { r.mutable_media(0)->set_tokens(0); });
  expect(test, "media[0].data has", [](R r) { r.mutable_media(0)->mutable_data()->pop_back(); });
  expect(test, "media[1].data has", [](R r) { r.mutable_media(1)->mutable_data()->push_back(0); });
  expect(test, "media[0].grid_width is 7", [](R r) { r.mutable_media(0)->set_grid_width(7); });
  expect(test, "media[0].grid_width is 0", [](R r) { r.mutable_media(0)->set_grid_width(0); });
  expect(test, "media[1] has tokens", [](R r) { r.mutable_media(1)->set_first_token(40); });
  expect(test, "media[1] has tokens", [](R r) { r.mutable_media(1)->set_first_token(86); });
  expect(test, "media[0] is 300 patches long, the model knows 288", [](R r) {
    for (int i = 0; i < 300; ++i) r.add_prompt_tokens(2042);
    r.mutable_media(0)->set_tokens(300);
    r.mutable_media(0)->set_grid_width(300);
    r.mutable_media(0)->mutable_data()->resize(300 * kPatchElements);
    r.mutable_media()->RemoveLast();
  });
  expect(test, "media[1].data holds a sample that is no number, at 3", [](R r) {
    v1::Media& sound = *r.mutable_media(1);
    sound.set_sample_type(v1::Media::FLOAT32);
    sound.mutable_data()->assign(5 * kFrameSamples * 4, 0);
    const float nan = std::nanf("");
    std::memcpy(&(*sound.mutable_data())[12], &nan, 4);
  });
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
