#ifndef FACET_WORKER_TESTING_TEST_ENGINE_H_
#define FACET_WORKER_TESTING_TEST_ENGINE_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/grammar.h"
#include "model/testing/random_adapter.h"
#include "tests/fake_worker/small_model.h"
#include "worker/engine.h"
#include "worker/engine_options.h"
#include "worker/loaded_model.h"
#include "worker/testing/guessing_drafter.h"
#include "worker/testing/thread_group.h"

// An engine on a tiny random model, requests for it, and what it gives: for the tests of the
// engine.

namespace facet::testing {

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
  std::vector<std::string> adapters = {};  // names of random ones that are loaded
  bool suppress_all = false;               // so that no id may be chosen
  // What it pulls by, of a model's format; none: it pulls nothing.
  std::function<std::unique_ptr<PeerSource>(const PageFormat& format)> peers = {};
  bool real_clock = false;  // instead of now_ms
  int ranks = 1;            // of the tensor-parallel group that computes
};

// Of a vocabulary that names the first 370 of the model's ids. Null without XGrammar.
inline GrammarCompiler* Compiler() {
  static GrammarCompiler* const compiler = [] {
    auto made = GrammarCompiler::Make(SmallVocabulary());
    return made.ok() ? made->release() : nullptr;
  }();
  return compiler;
}

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
    group = std::make_unique<ThreadGroup>("tests/testdata/golden/model.gguf", options, setup.ranks);
    model = &group->leader();
    for (const std::string& name : setup.adapters) {
      EXPECT_OK(model->adapters->BlockingLoad(name, adapter_path(name)));
    }
    EngineOptions engine_options = EngineOptionsFor(*model);
    engine_options.waiting_requests_max = setup.waiting_requests_max;
    if (setup.suppress_all) {
      engine_options.suppressed_ids.resize(engine_options.vocab_size);
      std::iota(engine_options.suppressed_ids.begin(), engine_options.suppressed_ids.end(), 0);
    }
    if (!setup.real_clock) {
      engine_options.clock = [this] {
        return absl::UnixEpoch() + absl::Milliseconds(now_ms.load());
      };
    }
    engine_options.on_load = [this](const v1::Load& load) {
      absl::MutexLock lock(&load_mutex);
      last_load = load;
    };
    if (setup.drafts_max > 0) {
      drafter = std::make_unique<GuessingDrafter>(model->drafter.get(), 5);
    }
    EngineParts parts = PartsOf(*model);
    parts.drafter = drafter.get();
    parts.grammar_compiler = Compiler();
    if (setup.peers) peers = setup.peers(model->page_format());
    parts.peers = peers.get();
    engine = std::make_unique<Engine>(engine_options, parts);
  }

  // Written anew: a random adapter that follows from its name.
  std::string adapter_path(const std::string& name) const {
    const uint32_t seed = static_cast<uint8_t>(name[0]);
    return WriteRandomAdapter("adapter-" + name, model->config(), 1 + seed % 7, seed);
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
  std::unique_ptr<ThreadGroup> group;
  LoadedModel* model;  // of the group's leader
  absl::Mutex load_mutex;
  v1::Load last_load ABSL_GUARDED_BY(load_mutex);
  std::unique_ptr<GuessingDrafter> drafter;  // null without
  std::unique_ptr<PeerSource> peers;         // null without
  std::unique_ptr<Engine> engine;
};

inline v1::GenerateRequest Request(std::vector<uint32_t> prompt, uint32_t tokens_max) {
  v1::GenerateRequest request;
  request.mutable_prompt_tokens()->Add(prompt.begin(), prompt.end());
  request.set_tokens_max(tokens_max);
  return request;
}

// Lists of short words, which end at <eos>; with a count that masks leave out.
inline constexpr char kGrammar[] = R"(root ::= "[" word ("," word){1,30} "]"
word ::= "\"" [a-z]{2,5} "\"" | "the" | [0-9]{1,3})";

// Requests of many lengths, greedy and sampled, from a seed. Some have a grammar.
inline std::vector<v1::GenerateRequest> RandomRequests(int count, int prompt_max, int tokens_max) {
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
    if (i % 3 == 2 && Compiler() != nullptr) {
      request.set_grammar(kGrammar);
      request.add_stop_tokens(1);
    }
    requests.push_back(request);
  }
  return requests;
}

// The parts of a result that must not depend on drafts.
inline void ExpectSameAnswer(const Result& result, const Result& plain) {
  EXPECT_EQ(result.tokens, plain.tokens);
  EXPECT_EQ(result.finish_reason, plain.finish_reason);
  ASSERT_EQ(result.logprobs.size(), plain.logprobs.size());
  for (size_t i = 0; i < plain.logprobs.size(); ++i) {
    EXPECT_EQ(result.logprobs[i].SerializeAsString(), plain.logprobs[i].SerializeAsString());
  }
}

}  // namespace facet::testing

#endif  // FACET_WORKER_TESTING_TEST_ENGINE_H_
