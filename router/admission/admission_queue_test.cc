#include "router/admission/admission_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

#include "absl/strings/str_cat.h"

namespace facet {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

bool AllOpen(const std::string&, const std::string&) { return true; }

class AdmissionQueueTest : public ::testing::Test {
 protected:
  static QueuedAnswer Answer(uint64_t id, const std::string& tenant, double tokens = 1,
                             double deadline_s = 100) {
    QueuedAnswer answer;
    answer.id = id;
    answer.tenant = tenant;
    answer.tokens = tokens;
    answer.deadline_s = deadline_s;
    return answer;
  }
  // All that is open now, in order.
  static std::vector<uint64_t> PopAll(AdmissionQueue& queue) {
    std::vector<uint64_t> ids;
    while (const auto answer = queue.Pop(AllOpen)) {
      ids.push_back(answer->id);
      queue.CheckInvariants();
    }
    return ids;
  }

  AdmissionQueue queue_{AdmissionQueue::Options()};
};

// Given answers of one tenant, expect the earliest deadline first, and of equal ones the oldest.
TEST_F(AdmissionQueueTest, ServesTheEarliestDeadlineFirst) {
  for (const auto& [id, deadline_s] :
       std::vector<std::pair<int, double>>{{1, 30}, {2, 10}, {3, 20}, {4, 10}, {5, 30}}) {
    EXPECT_THAT(queue_.Push(Answer(id, "a", 1, deadline_s)), IsEmpty());
  }
  EXPECT_THAT(PopAll(queue_), ElementsAre(2, 4, 3, 1, 5));
}

// Given a tenant that has sent much and one that comes later, expect the later one next.
TEST_F(AdmissionQueueTest, AFloodDoesNotHoldUpOthers) {
  for (int i = 1; i <= 100; ++i) queue_.Push(Answer(i, "flood", 50));
  for (int i = 0; i < 10; ++i) queue_.Pop(AllOpen);
  queue_.Push(Answer(101, "other", 50));
  queue_.Push(Answer(102, "other", 50));
  std::set<uint64_t> next;
  for (int i = 0; i < 4; ++i) next.insert(queue_.Pop(AllOpen)->id);
  EXPECT_TRUE(next.contains(101) && next.contains(102));
}

// Given a tenant that sends its next answer only when the last is served, expect it to get its
// share and not more.
TEST_F(AdmissionQueueTest, ComingBackGivesNoNewClaim) {
  for (int i = 1; i <= 1000; ++i) queue_.Push(Answer(i, "steady"));
  uint64_t next = 2000;
  queue_.Push(Answer(next, "again"));
  int again = 0;
  for (int i = 0; i < 200; ++i) {
    if (queue_.Pop(AllOpen)->tenant != "again") continue;
    ++again;
    queue_.Push(Answer(++next, "again"));
  }
  EXPECT_NEAR(again, 100, 1);
}

// Given a lane without room, expect the answers of others, of the same tenant too; given room, the
// rest in order.
TEST_F(AdmissionQueueTest, AClosedLaneHoldsUpNobodyElse) {
  QueuedAnswer stuck = Answer(1, "a", 1, 10);
  stuck.lane = "pirate";
  queue_.Push(stuck);
  queue_.Push(Answer(2, "a", 1, 20));
  const auto open = [](const std::string&, const std::string& lane) { return lane.empty(); };
  EXPECT_EQ(queue_.Pop(open)->id, 2u);
  EXPECT_FALSE(queue_.Pop(open).has_value());
  EXPECT_THAT(PopAll(queue_), ElementsAre(1));
}

// Given a full queue, expect the tenant that has most in it to lose its latest.
TEST_F(AdmissionQueueTest, TheGreatestGivesWay) {
  AdmissionQueue queue({.answers_max = 4, .bytes_max = 1000});
  for (int i = 1; i <= 4; ++i) EXPECT_THAT(queue.Push(Answer(i, "flood", 1, 10 + i)), IsEmpty());
  std::vector<QueuedAnswer> refused = queue.Push(Answer(5, "flood", 1, 99));
  ASSERT_EQ(refused.size(), 1u);
  EXPECT_EQ(refused[0].id, 5u);
  refused = queue.Push(Answer(6, "other"));
  ASSERT_EQ(refused.size(), 1u);
  EXPECT_EQ(refused[0].id, 4u);
  queue.CheckInvariants();
  EXPECT_EQ(queue.size(), 4u);
}

// Given too many bytes, expect the same.
TEST_F(AdmissionQueueTest, BytesAreBounded) {
  AdmissionQueue queue({.answers_max = 100, .bytes_max = 1000});
  QueuedAnswer large = Answer(1, "large");
  large.bytes = 900;
  EXPECT_THAT(queue.Push(large), IsEmpty());
  QueuedAnswer small = Answer(2, "small");
  small.bytes = 200;
  const std::vector<QueuedAnswer> refused = queue.Push(small);
  ASSERT_EQ(refused.size(), 1u);
  EXPECT_EQ(refused[0].id, 1u);
  EXPECT_EQ(queue.bytes(), 200u);
}

// Given an answer that found no room after all, expect it first again and its tenant no worse off.
TEST_F(AdmissionQueueTest, PushBackUndoesAPop) {
  queue_.Push(Answer(1, "a", 100));
  queue_.Push(Answer(2, "b", 100));
  queue_.Push(Answer(3, "a", 100));
  const std::optional<QueuedAnswer> first = queue_.Pop(AllOpen);
  EXPECT_EQ(first->id, 1u);
  queue_.PushBack(*first);
  queue_.CheckInvariants();
  EXPECT_THAT(PopAll(queue_), ElementsAre(1, 2, 3));
}

// Given deadlines that have come, expect those out, and the rest served.
TEST_F(AdmissionQueueTest, ExpiredOnesAreTakenOut) {
  queue_.Push(Answer(1, "a", 1, 10));
  queue_.Push(Answer(2, "a", 1, 20));
  queue_.Push(Answer(3, "b", 1, 5));
  EXPECT_EQ(queue_.TakeExpired(10).size(), 2u);
  queue_.CheckInvariants();
  EXPECT_FALSE(queue_.Remove(1));
  EXPECT_THAT(PopAll(queue_), ElementsAre(2));
}

// Given what waits, expect the tokens before a newcomer: its own tenant's that are due sooner, and
// of others no more than their weight gives them meanwhile.
TEST_F(AdmissionQueueTest, ForetellsWhatIsServedBefore) {
  for (int i = 1; i <= 10; ++i) queue_.Push(Answer(i, "a", 100, i));
  for (int i = 11; i <= 12; ++i) queue_.Push(Answer(i, "b", 100, 50));
  EXPECT_DOUBLE_EQ(queue_.TokensBefore("a", 1, 1000), 1200);
  EXPECT_DOUBLE_EQ(queue_.TokensBefore("a", 1, 1.5), 200);
  EXPECT_DOUBLE_EQ(queue_.TokensBefore("b", 1, 1000), 400);
  EXPECT_DOUBLE_EQ(queue_.TokensBefore("c", 1, 1000), 0);
}

// Given random tenants, weights, costs, lanes, removals and full queues, expect: nothing lost or
// given twice; of one tenant and lane the earliest deadline; and between any two tenants that
// waited all the while, service by weight within their largest answers.
TEST_F(AdmissionQueueTest, Property) {
  constexpr double kTokensMax = 500;
  const unsigned seed = std::random_device()();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::mt19937 random(seed);
  const auto draw = [&](int below) { return static_cast<int>(random() % below); };
  for (int round = 0; round < 30; ++round) {
    AdmissionQueue queue({.answers_max = 400, .bytes_max = 1 << 20});
    const int tenant_count = 2 + draw(5);
    std::vector<double> weights(tenant_count), served(tenant_count);
    for (double& weight : weights) weight = 0.5 * (1 + draw(8));
    std::set<uint64_t> inside;
    std::map<uint64_t, QueuedAnswer> known;
    uint64_t next = 1;
    const auto push = [&](int tenant) {
      QueuedAnswer answer =
          Answer(next++, absl::StrCat("t", tenant), 1 + draw(kTokensMax), draw(1000));
      answer.weight = weights[tenant];
      answer.lane = draw(4) == 0 ? "adapter" : "";
      answer.bytes = draw(5000);
      known[answer.id] = answer;
      inside.insert(answer.id);
      for (const QueuedAnswer& refused : queue.Push(answer)) {
        ASSERT_EQ(inside.erase(refused.id), 1u);
      }
    };
    const auto waiting = [&](int tenant) {
      int count = 0;
      for (const uint64_t id : inside) count += known[id].tenant == absl::StrCat("t", tenant);
      return count;
    };
    for (int step = 0; step < 300; ++step) {
      // Each always has something to do.
      for (int i = 0; i < tenant_count; ++i) {
        while (waiting(i) < 3) push(i);
      }
      if (draw(3) == 0) push(draw(tenant_count));
      if (draw(10) == 0) {
        const uint64_t id = *std::next(inside.begin(), draw(static_cast<int>(inside.size())));
        if (waiting(known[id].tenant[1] - '0') > 1) {
          ASSERT_TRUE(queue.Remove(id));
          inside.erase(id);
        }
      }
      const std::optional<QueuedAnswer> popped = queue.Pop(AllOpen);
      ASSERT_TRUE(popped.has_value());
      ASSERT_EQ(inside.erase(popped->id), 1u);
      for (const uint64_t id : inside) {
        if (known[id].tenant != popped->tenant) continue;
        ASSERT_LE(std::pair(popped->deadline_s, popped->id), std::pair(known[id].deadline_s, id));
      }
      queue.CheckInvariants();
      ASSERT_EQ(queue.size(), inside.size());
      const int tenant = popped->tenant[1] - '0';
      served[tenant] += popped->tokens / weights[tenant];
      for (int i = 0; i < tenant_count; ++i) {
        ASSERT_LE(std::abs(served[i] - served[tenant]),
                  kTokensMax / weights[i] + kTokensMax / weights[tenant]);
      }
    }
    std::vector<uint64_t> rest = PopAll(queue);
    ASSERT_EQ(std::set<uint64_t>(rest.begin(), rest.end()), inside);
    ASSERT_EQ(rest.size(), inside.size());
  }
}

}  // namespace
}  // namespace facet
