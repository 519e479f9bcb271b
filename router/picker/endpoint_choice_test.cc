#include "router/picker/endpoint_choice.h"

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace facet {
namespace {

using ::testing::ElementsAre;

WorkerSnapshot Worker(absl::string_view address, uint32_t cached_tokens = 0) {
  WorkerSnapshot worker;
  worker.address = address;
  worker.ready = true;
  worker.prefill_tokens_per_s = 1000;
  worker.cached_tokens = cached_tokens;
  return worker;
}

// Four workers, of which the third has the most of a long prompt.
Situation TwoPods() {
  Situation situation;
  situation.wish.prompt_tokens = 4000;
  situation.workers = {Worker("10.0.0.1:9381"), Worker("10.0.0.2:9381", 2000),
                       Worker("10.0.0.3:9381", 3900), Worker("[fd00::4]:9381", 1000)};
  return situation;
}

// Given workers with and without the prompt, expect the HTTP endpoints beside them, best first and
// no more than a gateway tries.
TEST(EndpointChoiceTest, BestFirst) {
  const auto choice = ChooseEndpoints(TwoPods(), {}, 8080);
  ASSERT_OK(choice);
  EXPECT_THAT(choice->endpoints, ElementsAre("10.0.0.3:8080", "10.0.0.2:8080", "[fd00::4]:8080"));
  EXPECT_EQ(choice->worker, 2);
  EXPECT_EQ(choice->estimate.computed_tokens, 100u);
}

// Given a subset, expect nothing else, also where what it names is no worker.
TEST(EndpointChoiceTest, Subset) {
  EndpointQuestion question;
  question.subset = {"10.0.0.1:8080", "10.0.0.2:8080", "10.9.9.9:8080"};
  const auto choice = ChooseEndpoints(TwoPods(), question, 8080);
  ASSERT_OK(choice);
  EXPECT_THAT(choice->endpoints, ElementsAre("10.0.0.2:8080", "10.0.0.1:8080"));
  question.subset = std::vector<std::string>();
  EXPECT_TRUE(absl::IsUnavailable(ChooseEndpoints(TwoPods(), question, 8080).status()));
}

// Given nobody who takes requests, expect UNAVAILABLE; given full ones alone, RESOURCE_EXHAUSTED.
TEST(EndpointChoiceTest, NobodyTakesIt) {
  Situation situation = TwoPods();
  for (WorkerSnapshot& worker : situation.workers) {
    worker.capacity = 1;
    worker.running = 1;
  }
  EXPECT_TRUE(absl::IsResourceExhausted(ChooseEndpoints(situation, {}, 8080).status()));
  for (WorkerSnapshot& worker : situation.workers) worker.draining = true;
  EXPECT_TRUE(absl::IsUnavailable(ChooseEndpoints(situation, {}, 8080).status()));
}

}  // namespace
}  // namespace facet
