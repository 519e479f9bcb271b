// Ranks that find each other, each a thread of this test.
#include "worker/group_join.h"

#include <unistd.h>

#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace facet {
namespace {

using ::facet::testing::StatusIs;
using ::testing::HasSubstr;

using Joined = absl::StatusOr<std::shared_ptr<Collective>>;

constexpr char kModel[] = "tests/testdata/golden/model.gguf";

// Options of a group with a name of its own, without a port.
GroupOptions Group(int size) {
  static int groups = 0;
  GroupOptions options;
  options.size = size;
  options.leader = absl::StrCat("unix-abstract:facet-group-join-test-", getpid(), "-", groups++);
  return options;
}

// Has all ranks join at once. `of_rank` makes the options that rank r differs in.
std::vector<Joined> JoinAll(const GroupOptions& group,
                            const std::vector<std::vector<v1::GroupFact>>& facts,
                            const std::vector<std::string>& hosts) {
  std::vector<Joined> joined(facts.size());
  std::vector<std::thread> ranks;
  for (size_t i = 0; i < facts.size(); ++i) {
    ranks.emplace_back([&, i] {
      GroupOptions options = group;
      options.rank = static_cast<int>(i);
      options.host = hosts[i];
      joined[i] = BlockingJoinGroup(options, facts[i], {});
    });
  }
  for (std::thread& rank : ranks) rank.join();
  return joined;
}

void ExpectSum(std::vector<Joined>& joined) {
  std::vector<std::thread> ranks;
  for (Joined& one : joined) {
    ASSERT_OK(one);
    ranks.emplace_back([&one] {
      float x = static_cast<float>((*one)->rank() + 1);
      EXPECT_OK((*one)->AllReduceSum(&x, 1));
      EXPECT_EQ(x, static_cast<float>((*one)->size() * ((*one)->size() + 1)) / 2);
      (*one)->Leave();
      EXPECT_OK((*one)->Barrier());
    });
  }
  for (std::thread& rank : ranks) rank.join();
}

// Given three ranks on one host, and on two, expect them to find each other and to sum.
TEST(GroupJoinTest, RanksFindEachOther) {
  const auto facts = GroupFacts(kModel, {}, 3);
  ASSERT_OK(facts);
  for (const std::string other_host : {"a", "b"}) {
    std::vector<Joined> joined =
        JoinAll(Group(3), {*facts, *facts, *facts}, {"a", "a", other_host});
    ExpectSum(joined);
  }
}

// Given a follower that differs in one fact, expect it to be told which; and the leader to say who
// is missing and why, in bounded time.
TEST(GroupJoinTest, ADifferenceIsNamed) {
  const auto refusal = [](const std::string& path, const LoadOptions& options, int size) {
    const auto own = GroupFacts(kModel, {}, 2), other = GroupFacts(path, options, size);
    EXPECT_OK(own);
    EXPECT_OK(other);
    GroupOptions group = Group(2);
    group.timeout = absl::Seconds(1);
    const std::vector<Joined> joined = JoinAll(group, {*own, *other}, {"a", "a"});
    EXPECT_THAT(joined[0].status(), StatusIs(absl::StatusCode::kDeadlineExceeded,
                                             HasSubstr("for rank 1, and refused one: rank 1 ")));
    return joined[1].status();
  };
  const auto differs = [](const std::string& what) {
    return StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr(what));
  };
  LoadOptions options;
  EXPECT_THAT(refusal(kModel, options, 4), differs("rank 1 has --tp_size 4, rank 0 has 2"));
  EXPECT_THAT(refusal("tests/testdata/golden/quant/q8_0.gguf", options, 2),
              differs("rank 1 has a model of form "));
  options.kv_format = "bf16";
  EXPECT_THAT(refusal(kModel, options, 2), differs("rank 1 has --kv_format bf16, rank 0 has f32"));
  options = {};
  options.assistant = "tests/testdata/golden/assistant.gguf";
  EXPECT_THAT(refusal(kModel, options, 2), differs("rank 1 has an --assistant of form "));
  options = {};
  options.kv.step_tokens_max = 100;
  EXPECT_THAT(refusal(kModel, options, 2), differs("--step_tokens_max 100, rank 0 has 512"));
}

// Given a follower of another version, expect it to be told.
TEST(GroupJoinTest, AnotherVersionIsRefused) {
  const auto own = GroupFacts(kModel, {}, 2);
  ASSERT_OK(own);
  auto older = *own, longer = *own;
  older[0].set_value("0.0.9");
  longer.emplace_back();
  GroupOptions group = Group(2);
  group.timeout = absl::Seconds(1);
  EXPECT_THAT(
      JoinAll(group, {*own, older}, {"a", "a"})[1].status(),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("rank 1 has version 0.0.9")));
  group.leader += "-longer";
  EXPECT_THAT(JoinAll(group, {*own, longer}, {"a", "a"})[1].status(),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("another version")));
}

// Given a leader without followers and a follower without a leader, expect each to end in time.
TEST(GroupJoinTest, AGroupThatNobodyJoinsEnds) {
  GroupOptions group = Group(3);
  group.timeout = absl::Milliseconds(300);
  EXPECT_THAT(BlockingJoinGroup(group, {}, {}).status(),
              StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("for ranks 1, 2")));
  group.rank = 1;
  EXPECT_THAT(BlockingJoinGroup(group, {}, {}).status(),
              StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr(group.leader)));
}

// Given an address that another leader listens on, expect its name.
TEST(GroupJoinTest, ATakenAddressIsNamed) {
  GroupOptions group = Group(2);
  group.timeout = absl::Seconds(2);
  // Whichever is second cannot listen; the first waits for ranks that do not come.
  absl::Status statuses[2];
  std::thread other([&] { statuses[1] = BlockingJoinGroup(group, {}, {}).status(); });
  statuses[0] = BlockingJoinGroup(group, {}, {}).status();
  other.join();
  if (absl::IsUnavailable(statuses[1])) std::swap(statuses[0], statuses[1]);
  EXPECT_THAT(statuses[0], StatusIs(absl::StatusCode::kUnavailable, HasSubstr(group.leader)));
  EXPECT_THAT(statuses[1], StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("rank 1")));
}

// Given flags that make no group, expect their names.
TEST(GroupJoinTest, BadFlagsAreNamed) {
  const auto refusal = [](int rank, int size, const std::string& leader) {
    GroupOptions options;
    options.rank = rank;
    options.size = size;
    options.leader = leader;
    return ValidateGroup(options);
  };
  const auto is = [](const char* text) {
    return StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(text));
  };
  EXPECT_THAT(refusal(0, 17, "host:1"), is("--tp_size=17"));
  EXPECT_THAT(refusal(0, 0, "host:1"), is("--tp_size=0"));
  EXPECT_THAT(refusal(2, 2, "host:1"), is("--tp_rank=2 is not in [0, 2)"));
  EXPECT_THAT(refusal(-1, 2, "host:1"), is("--tp_rank=-1"));
  EXPECT_THAT(refusal(0, 2, ""), is("--tp_leader"));
  EXPECT_THAT(refusal(0, 2, "0.0.0.0:9371"), is("--tp_leader"));
  EXPECT_OK(refusal(1, 2, "host:9371"));
  EXPECT_OK(refusal(0, 1, ""));
}

}  // namespace
}  // namespace facet
