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
