// A model that is split between ranks, each a thread of this test, against the same model whole and
// against itself: the law of serving holds within a size.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/group_task.h"
#include "worker/sampler.h"
#include "worker/scorer.h"
#include "worker/testing/test_engine.h"

namespace facet {
namespace {

using ::facet::testing::EngineShape;
using ::facet::testing::ExpectSameAnswer;
using ::facet::testing::RandomRequests;
using ::facet::testing::Result;
using ::facet::testing::StatusIs;
using ::facet::testing::TestEngine;
using ::facet::testing::ThreadGroup;
using ::testing::HasSubstr;

// Requests of all kinds of sampling, with grammars, adapters, log probabilities.
std::vector<v1::GenerateRequest> MixedRequests(int count) {
  std::vector<v1::GenerateRequest> requests = RandomRequests(count, 200, 24);
  const char* const adapters[] = {"", "a", "b"};
  for (int i = 0; i < count; ++i) {
    requests[i].set_adapter(adapters[i % 3]);
    if (i % 5 == 0) requests[i].mutable_sampling()->set_want_logprobs(true);
    if (i % 5 == 0) requests[i].mutable_sampling()->set_top_logprobs(3);
  }
  return requests;
}

EngineShape OfRanks(int ranks) {
  EngineShape shape;
  shape.ranks = ranks;
  shape.adapters = {"a", "b"};
  return shape;
}

std::vector<Result> RunAlone(const EngineShape& shape,
                             const std::vector<v1::GenerateRequest>& requests) {
  TestEngine engine(shape);
  engine.engine->Start();
  std::vector<Result> results;
  for (size_t i = 0; i < requests.size(); ++i) {
    v1::GenerateRequest salted = requests[i];
    salted.set_cache_salt(absl::StrCat(i));
    results.push_back(engine.Run(salted, i));
  }
  return results;
}

// Given two ranks, expect the same answers alone, in a batch, in other chunks, after preemption,
// from host memory, beside drafts and from the cache, bit for bit.
TEST(TensorParallelTest, TokensDoNotDependOnCompany) {
  const std::vector<v1::GenerateRequest> requests = MixedRequests(32);
  EngineShape whole_steps = OfRanks(2);
  whole_steps.step_tokens_max = 256;
  const std::vector<Result> alone = RunAlone(whole_steps, requests);
  EngineShape crowd = OfRanks(2), tight = OfRanks(2), drafting = OfRanks(2);
  tight.kv_bytes = 1 << 20;
  tight.context_tokens_max = 256;
  tight.step_tokens_max = 40;
  tight.tiers.host_bytes = 16 << 20;
  drafting.drafts_max = 4;
  int preemptions = 0, restored = 0, drafts = 0;
  for (const EngineShape& shape : {crowd, tight, drafting}) {
    TestEngine engine(shape);
    engine.engine->Start();
    // The second time their prefixes are cached.
    for (const uint64_t round : {0, 100}) {
      for (size_t i = 0; i < requests.size(); ++i) {
        EXPECT_OK(engine.engine->Submit(requests[i], engine.results, round + i));
      }
      for (size_t i = 0; i < requests.size(); ++i) {
        SCOPED_TRACE(absl::StrCat("request ", i));
        const Result result = engine.results->Wait(round + i);
        ExpectSameAnswer(result, alone[i]);
        preemptions += static_cast<int>(result.ledger.preemptions());
        restored += static_cast<int>(result.ledger.restored_tokens());
        drafts += static_cast<int>(result.ledger.drafts_accepted());
      }
    }
  }
  std::printf("%d preemptions, %d tokens restored, %d drafts accepted\n", preemptions, restored,
              drafts);
  EXPECT_GT(preemptions, 0);
  EXPECT_GT(restored, 0) << "no preempted request came back from host memory";
  EXPECT_GT(drafts, 0);
}

// Given the trained model, expect log probabilities of two and four ranks within float32's rounding
// of one's.
TEST(TensorParallelTest, LogprobsAreNearThoseOfOneRank) {
  const std::vector<v1::GenerateRequest> requests = RandomRequests(8, 200, 1);
  std::vector<std::vector<float>> whole;
  for (const int ranks : {1, 2, 4}) {
    LoadOptions options;
    options.threads = 1;
    options.kv.memory_bytes = 64 << 20;
    ThreadGroup group("model/nano/facet-nano.gguf", options, ranks);
    LoadedModel& model = group.leader();
    float greatest = 0;
    for (size_t i = 0; i < requests.size(); ++i) {
      std::vector<int32_t> tokens;
      for (const uint32_t id : requests[i].prompt_tokens()) tokens.push_back(id % 1500);
      ASSERT_OK_AND_ASSIGN(const Score score,
                           BlockingScore(*model.runner, *model.cache, model.config().vocab_size,
                                         tokens, /*top_count=*/0));
      if (ranks == 1) whole.push_back(score.logprobs);
      for (size_t t = 0; t < tokens.size(); ++t) {
        greatest = std::max(greatest, std::abs(score.logprobs[t] - whole[i][t]));
      }
    }
    std::printf("%d ranks: greatest difference %.1e\n", ranks, greatest);
    EXPECT_LE(greatest, 1e-3f);
    EXPECT_EQ(absl::StrContains(model.numerics_class(), absl::StrCat("tp ", ranks)), ranks > 1);
  }
}

// Given the trained model, expect each rank to hold its part of the pages alone: half of the
// sliding layers', all of the full layers', whose one head is shared.
TEST(TensorParallelTest, PagesAreSplit) {
  LoadOptions options;
  options.threads = 1;
  options.kv.memory_bytes = 64 << 20;
  const char kPath[] = "model/nano/facet-nano.gguf";
  ThreadGroup whole(kPath, options, 1), split(kPath, options, 2);
  const KvPlan one = whole.leader().cache->plan(), two = split.leader().cache->plan();
  EXPECT_EQ(two.sliding_page_bytes * 2, one.sliding_page_bytes);
  EXPECT_EQ(two.full_page_bytes, one.full_page_bytes);
  EXPECT_EQ(split.leader().cache->page_bytes(KvPool::kSliding), one.sliding_page_bytes);
}

// Given rows of logits of which only the ids that LikeliestNeeded says are known, expect the
// sampler to choose as from the whole row; seeds are printed.
TEST(LikeliestNeededTest, TheOthersDoNotMatter) {
  constexpr int kVocabulary = 4096;
  std::mt19937 random(9);
  std::normal_distribution<float> logit(0, 4);
  for (int trial = 0; trial < 300; ++trial) {
    std::vector<float> logits(kVocabulary);
    for (float& x : logits) x = std::round(logit(random) * 8) / 8;  // with ties
    v1::Sampling sampling;
    if (trial % 3 != 0) {
      sampling.set_temperature(0.2f + 0.01f * static_cast<float>(trial % 100));
      sampling.set_top_k(1 + random() % 100);
      if (trial % 2 == 0) sampling.set_top_p(0.9f);
      if (trial % 5 == 0) sampling.set_min_p(0.05f);
      sampling.set_seed(random());
    }
    std::vector<int> order(kVocabulary), suppressed;
    for (int i = 0; i < kVocabulary; ++i) order[i] = i;
    std::stable_sort(order.begin(), order.end(),
                     [&](int a, int b) { return logits[a] > logits[b]; });
    for (int i = 0; i < trial % 4; ++i) suppressed.push_back(order[i]);
    const int needed = LikeliestNeeded(sampling, static_cast<int>(suppressed.size()), kVocabulary);
    ASSERT_GT(needed, 0);
    std::vector<float> sparse(kVocabulary, -std::numeric_limits<float>::infinity());
    for (int i = 0; i < needed; ++i) sparse[order[i]] = logits[order[i]];
    const std::vector<int32_t> context(1 + trial % 7, 5);
    EXPECT_EQ(*Sample(sparse, sampling, {context, 1}, suppressed),
              *Sample(logits, sampling, {context, 1}, suppressed))
        << "trial " << trial << " of seed 9";
  }
}

// Given samplings that look at all logits, expect 0.
TEST(LikeliestNeededTest, SaysWhereAllMatter) {
  v1::Sampling greedy, flat, penalised, biased, scored, wide;
  flat.set_temperature(1);
  penalised.set_frequency_penalty(0.1f);
  (*biased.mutable_logit_bias())[3] = 1;
  scored.set_want_logprobs(true);
  wide.set_temperature(1);
  wide.set_top_k(100);
  EXPECT_EQ(LikeliestNeeded(greedy, 3, 1000), 4);
  for (const v1::Sampling& sampling : {flat, penalised, biased, scored}) {
    EXPECT_EQ(LikeliestNeeded(sampling, 3, 1000), 0);
  }
  EXPECT_EQ(LikeliestNeeded(wide, 3, 1000), 103);
  EXPECT_EQ(LikeliestNeeded(wide, 3, 100), 0);
}

v1::GroupStep SmallStep() {
  const PageTables first = {{0, 1}, {2, PageTables::kNoPage}}, second = {{4}, {5}};
  Adapter adapter;
  adapter.path = "adapters/a";
  adapter.digest = "d";
  Batch batch;
  batch.Add({7, 8}, 64, &first, /*outputs=*/1, /*items=*/{}, &adapter);
  batch.Add({9}, 0, &second, /*outputs=*/1);
  batch.best_counts = {3, 0};
  batch.media.push_back({1, nullptr, 0});
  return ToGroupStep(batch);
}

// Given a batch, expect followers to read what was written.
TEST(GroupTaskTest, ABatchComesBackAsItWas) {
  const v1::GroupStep step = SmallStep();
  Adapter own;
  ASSERT_OK_AND_ASSIGN(const auto follower, FromGroupStep(step, {&own}));
  const Batch& batch = follower->batch;
  EXPECT_EQ(batch.ids, (std::vector<int32_t>{7, 8, 9}));
  EXPECT_EQ(batch.position, (std::vector<int32_t>{64, 65, 0}));
  EXPECT_EQ(batch.sequence, (std::vector<int32_t>{0, 0, 1}));
  EXPECT_EQ(batch.output_rows, (std::vector<int32_t>{1, 2}));
  EXPECT_EQ(batch.best_counts, (std::vector<int32_t>{3, 0}));
  EXPECT_EQ(batch.tables[0]->sliding, (std::vector<int32_t>{2, PageTables::kNoPage}));
  EXPECT_EQ(batch.tables[1]->full, (std::vector<int32_t>{4}));
  EXPECT_EQ(batch.adapters, (std::vector<const Adapter*>{&own, nullptr}));
  EXPECT_EQ(batch.media[0].row, 1);
  EXPECT_EQ(step.adapters(0).path(), "adapters/a");
}

// Given steps whose fields do not fit each other, expect the field's name.
TEST(GroupTaskTest, NamesWhatDoesNotFit) {
  Adapter own;
  const auto refusal = [&](const std::function<void(v1::GroupStep&)>& spoil) {
    v1::GroupStep step = SmallStep();
    spoil(step);
    return FromGroupStep(step, {&own}).status();
  };
  const auto is = [](const char* text) {
    return StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(text));
  };
  EXPECT_THAT(refusal([](auto& step) { step.add_position(1); }), is("4 positions, not 3"));
  EXPECT_THAT(refusal([](auto& step) { step.clear_last_visible(); }), is("last visible"));
  EXPECT_THAT(refusal([](auto& step) { step.set_sequence(0, 2); }), is("sequence of 2"));
  EXPECT_THAT(refusal([](auto& step) { step.set_output_rows(0, 3); }), is("output row of 3"));
  EXPECT_THAT(refusal([](auto& step) { step.add_best_counts(3); }), is("best counts"));
  EXPECT_THAT(refusal([](auto& step) { step.set_media_rows(0, -1); }), is("media row of -1"));
  EXPECT_THAT(refusal([](auto& step) { step.set_adapter(0, 1); }), is("adapter of 1"));
  EXPECT_THAT(refusal([](auto& step) { step.add_adapters(); }), is("2 adapters, not 1"));
}

}  // namespace
}  // namespace facet
