#include "router/api/structured_output.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/grammar.h"
#include "router/api/api_error.h"
#include "router/api/openai_request.h"
#include "router/text/served_model.h"
#include "tests/fake_worker/small_model.h"

namespace facet {
namespace {

using ::facet::testing::SmallIds;
using ::testing::HasSubstr;

constexpr char kTools[] =
    R"("tools": [{"type": "function", "function": {"name": "say", "parameters": {"type": "object",
       "properties": {"word": {"type": "string"}}, "required": ["word"]}}},
      {"type": "function", "function": {"name": "stop"}}])";
constexpr char kSay[] = R"(<|tool_call>call:say{word:<|"|>the<|"|>}<tool_call|>)";
constexpr char kStop[] = "<|tool_call>call:stop{}<tool_call|>";

class StructuredOutputTest : public ::testing::Test {
 protected:
  StructuredOutputTest() : model_(*MakeServedModel(testing::SmallDescription(), 0)) {}

  // The grammar of a chat with these fields.
  absl::StatusOr<std::string> Grammar(absl::string_view fields, bool starts_in_channel = false) {
    auto request = ParseChatRequest(
        absl::StrCat(R"({"messages": [{"role": "user", "content": "the"}], )", fields, "}"));
    if (!request.ok()) return request.status();
    return BuildGrammar(*model_, *request, request->prompts[0], starts_in_channel);
  }

  void Expect(absl::string_view fields, const std::vector<std::string>& accepted,
              const std::vector<std::string>& refused, bool starts_in_channel = false) {
    ASSERT_OK_AND_ASSIGN(const std::string ebnf, Grammar(fields, starts_in_channel));
    for (const std::string& text : accepted) EXPECT_TRUE(Accepts(ebnf, text)) << ebnf << text;
    for (const std::string& text : refused) EXPECT_FALSE(Accepts(ebnf, text)) << ebnf << text;
  }

 private:
  static bool Accepts(const std::string& ebnf, const std::string& text) {
    static GrammarCompiler& compiler =
        *GrammarCompiler::Make(testing::SmallVocabulary())->release();
    const auto matcher = compiler.Compile(ebnf, {1});
    EXPECT_OK(matcher) << ebnf;
    if (!matcher.ok()) return false;
    for (const uint32_t id : SmallIds(text)) {
      if (!(*matcher)->Accept(static_cast<int32_t>(id))) return false;
    }
    return (*matcher)->IsComplete();
  }

  const std::shared_ptr<const ServedModel> model_;
};

// Without any of the fields, or with those that ask for nothing, there is no grammar.
TEST_F(StructuredOutputTest, AsksForNothingByDefault) {
  for (const char* fields : {R"("n": 1)", R"("response_format": {"type": "text"})",
                             R"("tool_choice": "none")", R"("parallel_tool_calls": false)"}) {
    ASSERT_OK_AND_ASSIGN(const std::string ebnf, Grammar(fields));
    EXPECT_EQ(ebnf, "") << fields;
  }
  ASSERT_OK_AND_ASSIGN(const std::string tools, Grammar(kTools));
  EXPECT_EQ(tools, "");
}

// Each way to ask gives the grammar of what it asks for.
TEST_F(StructuredOutputTest, TakesEachWayToAsk) {
  Expect(R"("response_format": {"type": "json_object"})", {"{}", R"({"a": 1})"}, {"[]", "the"});
  Expect(R"("response_format": {"type": "json_schema", "json_schema": {"name": "n", "strict": true,
         "schema": {"type": "boolean"}}})",
         {"true"}, {"1"});
  Expect(R"("structured_outputs": {"json": {"type": "boolean"}})", {"false"}, {"1"});
  Expect(R"("guided_json": "{\"type\": \"boolean\"}")", {"false"}, {"1"});
  Expect(R"("structured_outputs": {"regex": "^a{2}$"})", {"aa"}, {"a", "aaa"});
  Expect(R"("guided_choice": ["a\"", "b\\"])", {"a\"", "b\\"}, {"a", "b"});
  Expect(R"("guided_grammar": "x ::= \"a\"\nroot ::= x root | x")", {"a", "aaa"}, {"", "b"});
}

// What is asked for begins after a thought, and a thought cannot end the answer.
TEST_F(StructuredOutputTest, BeginsAfterTheThought) {
  const std::string choice = R"("guided_choice": ["the"])";
  Expect(choice, {"the"}, {"<|channel>thought\nx<channel|>the"});
  Expect(choice + R"(, "chat_template_kwargs": {"enable_thinking": true})",
         {"the", "<|channel>thought\nx {[<channel|>the"},
         {"<|channel>the", "<|channel>x<eos>the", "<|channel>x<channel|>", "x<channel|>the"});
  Expect(choice, {"x\n<channel|>the"}, {"the"}, /*starts_in_channel=*/true);
}

// Forced calls name a tool and have its arguments; content beside optional tools is either.
TEST_F(StructuredOutputTest, HoldsToolCallsToTheirParameters) {
  const std::string tools(kTools), say(kSay), stop(kStop);
  Expect(tools + R"(, "tool_choice": "required")", {say, stop, say + stop},
         {"", "the", "<|tool_call>call:say{}<tool_call|>", "<|tool_call>call:x{}<tool_call|>"});
  Expect(tools + R"(, "tool_choice": "required", "parallel_tool_calls": false)", {say, stop},
         {say + stop});
  Expect(tools + R"(, "tool_choice": {"type": "function", "function": {"name": "stop"}})", {stop},
         {say});
  Expect(tools + R"(, "guided_choice": ["the"])", {"the", say}, {"th", "the" + say});
  Expect(tools + R"(, "parallel_tool_calls": false)", {"", "the x", "the" + say}, {say + stop});
}

// What cannot be compiled names the field that asked for it.
TEST_F(StructuredOutputTest, RefusalsNameTheField) {
  const struct {
    const char *fields, *param, *message;
  } cases[] = {
      {R"("guided_json": {"not": {}})", "guided_json", "schema.not: this keyword"},
      {R"("response_format": {"type": "json_object", "schema": false})", "response_format.schema",
       "no value satisfies"},
      {R"json("structured_outputs": {"regex": "(?=a)"})json", "structured_outputs.regex",
       "group at byte 0"},
      {R"("guided_grammar": "root ::= (")", "guided_grammar", "grammar"},
      {R"("guided_grammar": "facet_answer ::= \"a\"\nroot ::= \"a\"")", "guided_grammar",
       "grammar"},
      {R"("guided_choice": ["a"], "ignore_eos": true)", "ignore_eos", "exclude"},
      {R"("tools": [{"type": "function", "function": {"name": "f", "parameters":
          {"properties": {"a": {"$ref": "#"}}, "required": ["a"]}}}], "tool_choice": "required")",
       "tools", "tools.f.parameters: no value satisfies"},
  };
  for (const auto& [fields, param, message] : cases) {
    const absl::Status status = Grammar(fields).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << fields;
    EXPECT_EQ(ParamOf(status), param) << fields;
    EXPECT_THAT(std::string(status.message()), HasSubstr(message)) << fields;
  }
}

}  // namespace
}  // namespace facet
