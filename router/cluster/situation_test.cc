#include "router/cluster/situation.h"

#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "proto/request_keys.h"

namespace facet {
namespace {

constexpr int kPageTokens = 64, kWindowPages = 2;

v1::GenerateRequest Prompt(int tokens) {
  v1::GenerateRequest request;
  for (int i = 0; i < tokens; ++i) request.add_prompt_tokens(i % 7);
  request.set_tokens_max(100);
  return request;
}

SharedPageKeys KeysOf(const v1::GenerateRequest& request) {
  return std::make_shared<const std::vector<PageKey>>(RequestPageKeys(request, kPageTokens));
}

std::vector<PageEvent> Stored(const SharedPageKeys& keys) {
  std::vector<PageEvent> events;
  for (const PageKey& key : *keys) {
    events.push_back({.key = key});
    events.push_back({.key = key, .sliding = true});
  }
  return events;
}

std::vector<WorkerSnapshot> Workers(int count) {
  std::vector<WorkerSnapshot> workers(count);
  for (int i = 0; i < count; ++i) {
    workers[i].id = i;
    workers[i].ready = true;
  }
  return workers;
}

// A worker that has the whole prompt computes its last token all the same, so its last page is not
// counted; one that was only sent it has nothing that others may pull.
TEST(SituationTest, SaysWhatWorkersHaveOfAPrompt) {
  PageDirectory directory(1000);
  directory.SetWindow(kWindowPages);
  const v1::GenerateRequest request = Prompt(4 * kPageTokens);
  const SharedPageKeys keys = KeysOf(request);
  directory.Apply(1, Stored(keys));
  const PageDirectory::Expected expected = directory.Expect(2, keys);
  const Situation situation =
      SituationOf(request, keys, {kPageTokens, kWindowPages, 50}, directory, Workers(3));
  EXPECT_EQ(situation.wish.prompt_tokens, 256u);
  EXPECT_EQ(situation.wish.answer_tokens, 50);
  EXPECT_EQ(situation.workers[0].cached_tokens, 0u);
  EXPECT_EQ(situation.workers[1].cached_tokens, 192u);
  EXPECT_EQ(situation.workers[1].held_tokens, 192u);
  EXPECT_EQ(situation.workers[2].cached_tokens, 192u);
  EXPECT_EQ(situation.workers[2].held_tokens, 0u);
}

// What a worker has that takes no requests spares no cost.
TEST(SituationTest, CostsWhatNoServingWorkerHas) {
  PageDirectory directory(1000);
  directory.SetWindow(kWindowPages);
  const v1::GenerateRequest request = Prompt(4 * kPageTokens + 10);
  const SharedPageKeys keys = KeysOf(request);
  directory.Apply(1, Stored(keys));
  const ServedShape shape{kPageTokens, kWindowPages, 500};
  Situation situation = SituationOf(request, keys, shape, directory, Workers(2));
  EXPECT_EQ(CostOf(situation).prompt_tokens, 10);
  EXPECT_EQ(CostOf(situation).answer_tokens, 100) << "tokens_max bounds it";
  situation.workers[1].draining = true;
  EXPECT_EQ(CostOf(situation).prompt_tokens, 266);
}

// Steps of 10 ms and 1 ms a row: 100 tokens beside two others take 1.2 s, and the prompt comes
// before them. What is not measured is no reason to refuse anybody.
TEST(SituationTest, SaysHowLongAnAnswerTakes) {
  Situation situation{{.answer_tokens = 100}, Workers(2)};
  EXPECT_EQ(LeastServiceSeconds(situation), 0);
  situation.workers[0].decode_step_s = 0.010;
  situation.workers[0].decode_row_s = 0.001;
  situation.workers[0].running = 2;
  PlacementEstimate estimate;
  estimate.requests = 2;
  estimate.first_token_s = 0.5;
  EXPECT_NEAR(ServiceSeconds(situation, 0, estimate), 1.7, 1e-9);
  EXPECT_NEAR(LeastServiceSeconds(situation), 1.2 + 0.012, 1e-9);
  situation.workers[0].draining = true;
  EXPECT_EQ(LeastServiceSeconds(situation), 0);
}

// Answers that take three times as long as rates say are known to after some hundred; those that
// are cut by their deadlines, though nobody knows how long they would have taken, push further.
TEST(SituationTest, LearnsHowFarOffRatesAre) {
  ServedShape shape;
  for (int i = 0; i < 300; ++i) CountAnswer(40, /*seconds=*/3, /*expected_s=*/1, shape);
  EXPECT_NEAR(shape.service_factor, 3, 0.02);
  EXPECT_NEAR(shape.answer_tokens, 40, 2);
  CountLate(shape);
  EXPECT_GT(shape.service_factor, 3.2);
  for (int i = 0; i < 100; ++i) CountLate(shape);
  EXPECT_LE(shape.service_factor, 10);
  CountAnswer(40, /*seconds=*/0, /*expected_s=*/0, shape);
  EXPECT_LE(shape.service_factor, 10) << "not measured: nothing is learned";
}

// A pull names the worker and the pages that it told of; without one there is no source.
TEST(SituationTest, NamesTheSourceOfAPull) {
  Situation situation{{.page_tokens = kPageTokens}, Workers(2)};
  situation.workers[1].held_tokens = 192;
  EXPECT_EQ(SourceOf(situation, {}).address(), "");
  const v1::KvSource source = SourceOf(situation, {.source = 1, .source_address = "b:1"});
  EXPECT_EQ(source.address(), "b:1");
  EXPECT_EQ(source.pages(), 3u);
}

}  // namespace
}  // namespace facet
