#include "ops/simulation/trace.h"

#include <set>
#include <string>
#include <vector>

#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "ops/simulation/fault_schedule.h"

namespace facet {
namespace {

using ::facet::testing::StatusIs;
using ::testing::HasSubstr;

auto Bad(const std::string& message) {
  return StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message));
}

std::vector<uint32_t> IdsOf(const TraceRequest& request) {
  std::vector<uint32_t> ids;
  AppendTokens(request, ids);
  return ids;
}

// Given both formats' lines, expect what they say; prompts share what they name alike, and no
// more.
TEST(TraceTest, ReadsRequests) {
  ASSERT_OK_AND_ASSIGN(
      const Trace own,
      ParseTrace("{\"arrival_s\":0,\"prompt\":[[\"s\",100],[\"a\",50]],\"answer_tokens\":7}\n\n"
                 "{\"arrival_s\":0.5,\"tenant\":\"t\",\"prompt\":[[\"s\",100],[\"b\",50]],"
                 "\"answer_tokens\":8,\"deadline_s\":3}\n",
                 "t.jsonl"));
  ASSERT_EQ(own.size(), 2u);
  EXPECT_EQ(own[0].tenant, "default");
  EXPECT_EQ(own[1].tenant, "t");
  EXPECT_EQ(own[1].deadline_s, 3);
  EXPECT_EQ(own[1].prompt_tokens(), 150);
  const std::vector<uint32_t> first = IdsOf(own[0]), second = IdsOf(own[1]);
  EXPECT_TRUE(std::equal(first.begin(), first.begin() + 100, second.begin()));
  EXPECT_NE(first, second);
  for (const uint32_t id : first) EXPECT_LT(id, static_cast<uint32_t>(kTokenIds));

  ASSERT_OK_AND_ASSIGN(
      const Trace mooncake,
      ParseMooncakeTrace("{\"timestamp\":2500,\"input_length\":600,\"output_length\":9,"
                         "\"hash_ids\":[4,5]}",
                         "m.jsonl"));
  ASSERT_EQ(mooncake.size(), 1u);
  EXPECT_EQ(mooncake[0].arrival_s, 2.5);
  EXPECT_EQ(mooncake[0].prompt_tokens(), 600);
  EXPECT_EQ(mooncake[0].prompt[1].tokens, 88);
}

// Each wrong line is named, and the field in it.
TEST(TraceTest, NamesWhatIsWrong) {
  const auto own = [](const std::string& second) {
    return ParseTrace("{\"arrival_s\":1,\"prompt\":[[\"s\",100]],\"answer_tokens\":7}\n" + second,
                      "t.jsonl")
        .status();
  };
  EXPECT_THAT(own("{\"arrival_s\":-1,\"prompt\":[[\"s\",1]],\"answer_tokens\":7}"),
              Bad("t.jsonl line 2: `arrival_s` must be a number from 0"));
  EXPECT_THAT(own("{\"arrival_s\":0.5,\"prompt\":[[\"s\",1]],\"answer_tokens\":7}"),
              Bad("t.jsonl line 2: `arrival_s` is before that of the request above"));
  EXPECT_THAT(own("{\"arrival_s\":2,\"answer_tokens\":7}"), Bad("line 2: `prompt` is missing"));
  EXPECT_THAT(own("{\"arrival_s\":2,\"prompt\":[],\"answer_tokens\":7}"), Bad("`prompt` is empty"));
  EXPECT_THAT(own("{\"arrival_s\":2,\"prompt\":[[\"s\",0]],\"answer_tokens\":7}"),
              Bad("line 2: `prompt[0]` must be a name and a number"));
  EXPECT_THAT(own("{\"arrival_s\":2,\"prompt\":[[\"s\",1]],\"answer_tokens\":0}"),
              Bad("line 2: `answer_tokens` must be a whole number from 1"));
  EXPECT_THAT(own("{\"arrival_s\":2,\"prompt\":[[\"s\",1]],\"answer_tokens\":1,\"x\":1}"),
              Bad("line 2: `x` is not a field"));
  EXPECT_THAT(own("{\"arrival_s\":"), Bad("t.jsonl line 2"));

  const auto mooncake = [](const std::string& line) {
    return ParseMooncakeTrace(line, "m.jsonl").status();
  };
  EXPECT_THAT(mooncake("{\"timestamp\":0,\"input_length\":600,\"output_length\":9,"
                       "\"hash_ids\":[4]}"),
              Bad("m.jsonl line 1: `hash_ids` has 1 blocks, input_length 600 has 2"));
  EXPECT_THAT(mooncake("{\"timestamp\":0,\"input_length\":6,\"output_length\":9,"
                       "\"hash_ids\":[\"a\"]}"),
              Bad("line 1: `hash_ids[0]` must be a whole number"));
  EXPECT_THAT(mooncake("{\"timestamp\":0,\"output_length\":9,\"hash_ids\":[4]}"),
              Bad("line 1: `input_length` is missing"));
}

// All users of all groups are asked for once in each round, at the wanted rate; a seed gives one
// trace.
TEST(TraceTest, MakesSharedPrefixes) {
  SharedPrefixOptions options;
  options.groups = 10;
  options.users = 3;
  options.requests = 3000;
  options.requests_per_s = 20;
  const Trace trace = MakeSharedPrefixTrace(options);
  ASSERT_EQ(trace.size(), 3000u);
  EXPECT_NEAR(trace.back().arrival_s, 150, 15);
  std::set<uint64_t> groups, questions;
  std::multiset<uint64_t> of_round;
  for (size_t i = 0; i < trace.size(); ++i) {
    EXPECT_EQ(trace[i].prompt_tokens(), 7200);
    groups.insert(trace[i].prompt[0].content);
    questions.insert(trace[i].prompt[1].content);
    if (i < 30) of_round.insert(trace[i].prompt[0].content);
  }
  EXPECT_EQ(groups.size(), 10u);
  EXPECT_EQ(questions.size(), 3000u);
  for (const uint64_t group : groups) EXPECT_EQ(of_round.count(group), 3u);
  EXPECT_EQ(MakeSharedPrefixTrace(options)[2999].arrival_s, trace[2999].arrival_s);
  options.seed = 2;
  EXPECT_NE(MakeSharedPrefixTrace(options)[2999].arrival_s, trace[2999].arrival_s);
}

TEST(FaultScheduleTest, ReadsFaults) {
  ASSERT_OK_AND_ASSIGN(const std::vector<Fault> faults,
                       ParseFaults("{\"at_s\":1,\"worker\":3,\"event\":\"die\"}\n"
                                   "{\"at_s\":2,\"worker\":0,\"event\":\"slow\",\"factor\":10}\n"
                                   "{\"at_s\":2,\"worker\":1,\"event\":\"vanish\"}",
                                   "f.jsonl", /*workers=*/4));
  ASSERT_EQ(faults.size(), 3u);
  EXPECT_EQ(faults[0].kind, Fault::Kind::kDie);
  EXPECT_EQ(faults[1].factor, 10);
  EXPECT_EQ(faults[2].noticed_after_s, 4);
}

// Each wrong line is named, and the field in it.
TEST(FaultScheduleTest, NamesWhatIsWrong) {
  const auto parsed = [](const std::string& text) {
    return ParseFaults(text, "f.jsonl", /*workers=*/4).status();
  };
  EXPECT_THAT(parsed("{\"at_s\":1,\"worker\":4,\"event\":\"die\"}"),
              Bad("f.jsonl line 1: `worker` must be a whole number from 0 to 3"));
  EXPECT_THAT(parsed("{\"at_s\":1,\"worker\":0,\"event\":\"sleep\"}"),
              Bad("line 1: `event` must be die, vanish, return or slow"));
  EXPECT_THAT(parsed("{\"at_s\":1,\"worker\":0,\"event\":\"slow\"}"),
              Bad("line 1: `factor` is missing"));
  EXPECT_THAT(parsed("{\"at_s\":1,\"worker\":0,\"event\":\"die\",\"factor\":2}"),
              Bad("line 1: `factor` is for events of kind slow"));
  EXPECT_THAT(parsed("{\"at_s\":2,\"worker\":0,\"event\":\"die\"}\n"
                     "{\"at_s\":1,\"worker\":0,\"event\":\"return\"}"),
              Bad("line 2: `at_s` is before"));
}

}  // namespace
}  // namespace facet
