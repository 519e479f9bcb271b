#include "router/admission/line_state.h"

#include <functional>
#include <string>
#include <vector>

#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "router/api/api_error.h"

namespace facet {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// A line, and workers with room for so many requests.
class LineStateTest : public ::testing::Test {
 protected:
  uint64_t Enter(double now_s, double deadline_s = 1e9, const std::string& lane = "") {
    const absl::StatusOr<uint64_t> id = TryEnter(now_s, deadline_s, lane);
    EXPECT_OK(id);
    return id.value_or(0);
  }
  absl::StatusOr<uint64_t> TryEnter(double now_s, double deadline_s = 1e9,
                                    const std::string& lane = "") {
    QueuedAnswer answer;
    answer.tenant = tenant_;
    answer.lane = lane;
    answer.tokens = 100;
    answer.prompt_tokens = 10;
    answer.deadline_s = deadline_s;
    return line_.Enter(answer, now_s, room(), pushed_out_);
  }
  LineState::Decision Decide(double now_s) { return line_.Decide(now_s, room()); }
  std::function<FleetRoom(const std::string&)> room() {
    return [this](const std::string& lane) {
      return FleetRoom{serving_ && lane.empty(), {requests_, 1000}, rows_};
    };
  }

  std::string tenant_ = "a";  // Of what enters.
  bool serving_ = true;
  int64_t requests_ = 0, rows_ = 0;
  std::vector<LineState::Refused> pushed_out_;
  LineState line_{{.queue = {.answers_max = 2}, .wait_ms_max = 60'000, .no_worker_wait_ms = 5'000}};
};

// There is room for one: one gets a turn, and what it takes is not given again before it left.
TEST_F(LineStateTest, GivesTurnsAsThereIsRoom) {
  const uint64_t first = Enter(0), second = Enter(0);
  EXPECT_THAT(Decide(0.1).turns, IsEmpty());
  requests_ = 1;
  EXPECT_THAT(Decide(0.2).turns, ElementsAre(first));
  EXPECT_THAT(Decide(0.3).turns, IsEmpty());
  line_.Leave(first);
  EXPECT_THAT(Decide(0.4).turns, ElementsAre(second));
  EXPECT_EQ(line_.waiting(), 0u);
}

// One whose worker had no room after all is the next again.
TEST_F(LineStateTest, KeepsThePlaceOfOneThatFoundNoRoom) {
  const uint64_t first = Enter(0);
  Enter(0);
  requests_ = 1;
  Decide(0.1);
  line_.WaitOn(first);
  EXPECT_EQ(line_.waiting(), 2u);
  EXPECT_THAT(Decide(0.2).turns, ElementsAre(first));
}

// Tenant b has all four rows. Tenant a, which has none, is to take the places of two, not of more.
TEST_F(LineStateTest, LetsATenantClaimItsShareOfTheRows) {
  rows_ = 4;
  for (int i = 0; i < 4; ++i) line_.Begin("b", 1);
  const uint64_t first = Enter(0), second = Enter(0);
  EXPECT_THAT(Decide(0.1).claims, ElementsAre(first, second));
  for (const uint64_t id : {first, second}) {
    line_.Begin("a", 1);
    line_.Leave(id);
  }
  Enter(0.2);
  tenant_ = "b";
  Enter(0.2);
  LineState::Decision decision = Decide(0.3);
  EXPECT_THAT(decision.claims, IsEmpty());
  EXPECT_THAT(decision.turns, IsEmpty());
  line_.End("a");
  decision = Decide(0.4);
  EXPECT_EQ(decision.claims.size(), 1u);
}

// A deadline passes: refused, with a time to try again.
TEST_F(LineStateTest, RefusesTheLate) {
  const uint64_t late = Enter(0, /*deadline_s=*/1);
  const LineState::Decision decision = Decide(1);
  ASSERT_EQ(decision.refused.size(), 1u);
  EXPECT_EQ(decision.refused[0].id, late);
  EXPECT_EQ(CodeOf(decision.refused[0].reason), "deadline");
  EXPECT_GE(RetryAfterSeconds(decision.refused[0].reason), 1);
}

// Two have passed in two seconds and one waits: who cannot be in time hears it at once.
TEST_F(LineStateTest, RefusesWhoCannotBeInTime) {
  Enter(0);
  requests_ = 1;
  line_.Leave(Decide(2).turns.at(0));
  requests_ = 0;
  Enter(2, /*deadline_s=*/4.4);
  Decide(4);
  const absl::Status refusal = TryEnter(4, /*deadline_s=*/4.5).status();
  EXPECT_EQ(CodeOf(refusal), "deadline");
  EXPECT_GE(RetryAfterSeconds(refusal), 1);
  EXPECT_OK(TryEnter(4, /*deadline_s=*/60));
}

// The queue takes two: the third, of the same tenant and with the latest deadline, is refused.
TEST_F(LineStateTest, RefusesWhatDoesNotFit) {
  Enter(0);
  const uint64_t second = Enter(0, /*deadline_s=*/50);
  EXPECT_EQ(CodeOf(TryEnter(0).status()), "queue_full");
  Enter(0, /*deadline_s=*/30);
  EXPECT_EQ(line_.waiting(), 2u);
  ASSERT_EQ(pushed_out_.size(), 1u);
  EXPECT_NE(pushed_out_[0].id, second) << "the first had until 60 s";
}

// All workers are gone: patience is bounded, and begins anew for who comes later.
TEST_F(LineStateTest, RefusesTheForlorn) {
  const uint64_t first = Enter(0);
  serving_ = false;
  EXPECT_THAT(Decide(1).refused, IsEmpty());
  Enter(4);
  const LineState::Decision decision = Decide(6.1);
  ASSERT_EQ(decision.refused.size(), 1u);
  EXPECT_EQ(decision.refused[0].id, first);
  EXPECT_EQ(CodeOf(decision.refused[0].reason), "no_worker");
}

// Others are there, but none of its lane: it hears that at once.
TEST_F(LineStateTest, RefusesALaneWithoutWorkers) {
  EXPECT_EQ(CodeOf(TryEnter(0, 1e9, "adapter").status()), "no_worker");
}

// Who waits hears that the router stops; whose turn has come is let go.
TEST_F(LineStateTest, RefusesAllThatWaitAtTheEnd) {
  const uint64_t first = Enter(0), second = Enter(0);
  requests_ = 1;
  EXPECT_THAT(Decide(0.1).turns, ElementsAre(first));
  const std::vector<LineState::Refused> refused = line_.RefuseAll();
  ASSERT_EQ(refused.size(), 1u);
  EXPECT_EQ(refused[0].id, second);
  EXPECT_EQ(CodeOf(refused[0].reason), "stopping");
  EXPECT_EQ(line_.waiting(), 0u);
}

}  // namespace
}  // namespace facet
