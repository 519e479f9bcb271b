#include "ops/simulation/cost_table.h"

#include <string>

#include "absl/strings/str_replace.h"
#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace facet {
namespace {

using ::facet::testing::StatusIs;
using ::testing::HasSubstr;

constexpr char kGood[] = R"({"step_s": 0.01, "decode_row_s": 0.0001, "prefill_token_s": 0.00005,
  "decode_key_s": 1e-9, "prefill_key_s": 2e-9, "context_tokens_max": 8192,
  "running_requests_max": 16, "full_pages": 128, "sliding_pages": 60})";

absl::Status Parsed(absl::string_view from, absl::string_view to) {
  const std::string text = absl::StrReplaceAll(kGood, {{from, to}});
  EXPECT_NE(text, kGood) << from;
  return ParseCostTable(text, "costs.json").status();
}

// A step is the sum of what its rows and their keys take.
TEST(CostTableTest, AddsUpAStep) {
  ASSERT_OK_AND_ASSIGN(const CostTable costs, ParseCostTable(kGood, "costs.json"));
  EXPECT_DOUBLE_EQ(costs.StepSeconds(2, 1000, 100, 5000), 0.01 + 0.0002 + 1e-6 + 0.005 + 1e-5);
  EXPECT_EQ(costs.step_tokens_max, 512) << "the worker's own default";
}

// What is written is read as the same.
TEST(CostTableTest, WritesWhatItReads) {
  ASSERT_OK_AND_ASSIGN(const CostTable costs, ParseCostTable(kGood, "costs.json"));
  const std::string text = CostTableText(costs);
  ASSERT_OK_AND_ASSIGN(const CostTable again, ParseCostTable(text, "again.json"));
  EXPECT_EQ(CostTableText(again), text);
  EXPECT_EQ(again.decode_key_s, 1e-9);
}

// Each wrong field is named, with the file.
TEST(CostTableTest, NamesWhatIsWrong) {
  const auto bad = [](absl::string_view message) {
    return StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(std::string(message)));
  };
  EXPECT_THAT(Parsed("\"step_s\": 0.01,", ""), bad("costs.json: `step_s` is missing"));
  EXPECT_THAT(Parsed("0.01", "-1"), bad("`step_s` must be a number from"));
  EXPECT_THAT(Parsed("0.0001", "\"x\""), bad("`decode_row_s` must be a number"));
  EXPECT_THAT(Parsed("decode_key_s", "key_s"), bad("`key_s` is not a field"));
  EXPECT_THAT(Parsed("8192", "1.5"), bad("`context_tokens_max` must be a whole number"));
  EXPECT_THAT(Parsed("128", "100"), bad("`full_pages` of 64 tokens each must hold"));
  EXPECT_THAT(Parsed("60", "3"), bad("`sliding_pages` must be at least 27"));
  EXPECT_THAT(Parsed("\"sliding_pages\"", "\"host_tier_bytes\": 1000, \"sliding_pages\""),
              bad("`host_tier_bytes` also needs"));
  EXPECT_THAT(ParseCostTable("[1]", "costs.json").status(), bad("costs.json: is no JSON object"));
  EXPECT_THAT(ParseCostTable("{", "costs.json").status(), bad("costs.json"));
}

}  // namespace
}  // namespace facet
