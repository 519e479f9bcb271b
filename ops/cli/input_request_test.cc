#include "ops/cli/input_request.h"

#include <boost/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace facet {
namespace {

using ::testing::HasSubstr;

absl::StatusOr<GenerationRequest> Parse(const std::string& line) {
  const boost::json::object object = boost::json::parse(line).as_object();
  absl::StatusOr<GenerationRequest> request = ParseInputRequest(object);
  if (!request.ok()) return InWordsOfLine(object, request.status());
  return request;
}

// Given ids and text, expect prompts of that kind, greedy and without a bound of their own.
TEST(InputRequestTest, TakesTokensAndText) {
  ASSERT_OK_AND_ASSIGN(const GenerationRequest tokens, Parse(R"({"tokens":[2,5]})"));
  EXPECT_EQ(std::get<std::vector<int>>(tokens.prompts[0]), (std::vector<int>{2, 5}));
  ASSERT_OK_AND_ASSIGN(const GenerationRequest text, Parse(R"({"text":"hi"})"));
  EXPECT_EQ(std::get<std::string>(text.prompts[0]), "hi");
  EXPECT_EQ(text.sampling.temperature, 0.0f);
  EXPECT_FALSE(text.tokens_max.has_value());
}

// Given a wrong prompt, expect an error that names the field that the line has.
TEST(InputRequestTest, NamesTheFieldOfTheLine) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({})", "none of `tokens`, `text` and `messages`"},
      {R"({"text":5})", "`text`"},
      {R"({"text":[1]})", "`text`"},
      {R"({"tokens":"x"})", "`tokens`"},
      {R"({"tokens":["x"]})", "`tokens[0]`"},
      {R"({"tokens":[1,-1]})", "`tokens[1]`"},
      {R"({"tokens":[1,1.5]})", "`tokens[1]`"},
      {R"({"tokens":[]})", "`tokens`"},
      {R"({"text":"x","temperature":-1})", "`temperature`"},
      {R"({"text":"x","n":2})", "one answer"},
  };
  for (const auto& [line, expected] : cases) {
    const absl::Status status = Parse(line).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << line;
    EXPECT_THAT(std::string(status.message()), HasSubstr(expected)) << line;
  }
}

}  // namespace
}  // namespace facet
