#include "model/chat_template.h"

#include <boost/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/testing/files.h"
#include "model/testing/real_vocabulary.h"
#include "model/tokenizer.h"

namespace facet {
namespace {

using ::facet::testing::IsOkAndHolds;
using ::facet::testing::StatusIs;
using ::testing::HasSubstr;

absl::StatusOr<std::string> Render(absl::string_view arguments) {
  return RenderChat(
      boost::json::parse(boost::json::string_view(arguments.data(), arguments.size())).as_object());
}

// Given the reference's conversations: expect its prompts, its ids and its errors.
TEST(ChatTemplateTest, EqualsTheReference) {
  const Tokenizer tokenizer(testing::RealVocabulary());
  for (const auto& line : testing::ReadJsonLines("tests/testdata/text/chat.jsonl")) {
    SCOPED_TRACE(std::string(line.at("name").as_string()));
    const absl::StatusOr<std::string> prompt = RenderChat(line);
    if (line.contains("error")) {
      EXPECT_THAT(prompt, StatusIs(absl::StatusCode::kInvalidArgument,
                                   HasSubstr("tool_calls[0].function.arguments must be a JSON "
                                             "object (mapping), not a string")));
      continue;
    }
    ASSERT_OK(prompt);
    EXPECT_EQ(*prompt, std::string(line.at("prompt").as_string()));
    EXPECT_EQ(tokenizer.Encode(*prompt), boost::json::value_to<std::vector<int>>(line.at("ids")));
  }
}

// The worked examples of Gemma 4's chat format, in its five parts.

TEST(ChatTemplateTest, UserWithoutThinking) {
  EXPECT_THAT(Render(R"({"messages": [{"role": "user", "content": "Hello"}]})"),
              IsOkAndHolds("<bos><|turn>user\n"
                           "Hello<turn|>\n"
                           "<|turn>model\n"
                           "<|channel>thought\n"
                           "<channel|>"));
}

TEST(ChatTemplateTest, SystemAndUserWithThinking) {
  EXPECT_THAT(Render(R"({"messages": [{"role": "system", "content": "You are terse."},
                                      {"role": "user", "content": "What is 2+2?"}],
                         "enable_thinking": true})"),
              IsOkAndHolds("<bos><|turn>system\n"
                           "<|think|>\n"
                           "You are terse.<turn|>\n"
                           "<|turn>user\n"
                           "What is 2+2?<turn|>\n"
                           "<|turn>model\n"));
}

TEST(ChatTemplateTest, ToolDeclaration) {
  EXPECT_THAT(
      Render(R"({"messages": [{"role": "user", "content": "Weather in Paris?"}],
                 "tools": [{"type": "function", "function": {
                   "name": "get_weather", "description": "Get current weather.",
                   "parameters": {"type": "object", "required": ["city"], "properties": {
                     "city": {"type": "string", "description": "City name"},
                     "days": {"type": "integer"},
                     "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
                     "tags": {"type": "array", "items": {"type": "string"}},
                     "opt": {"type": "object", "required": ["hourly"], "properties": {
                       "hourly": {"type": "boolean", "description": "Hourly?"}}}}}}}]})"),
      IsOkAndHolds(
          "<bos><|turn>system\n"
          "<|tool>declaration:get_weather{description:<|\"|>Get current weather.<|\"|>,parameters:{"
          "properties:{city:{description:<|\"|>City name<|\"|>,type:<|\"|>STRING<|\"|>},days:{type:"
          "<|\"|>INTEGER<|\"|>},opt:{properties:{hourly:{description:<|\"|>Hourly?<|\"|>,type:<|\"|"
          ">BOOLEAN<|\"|>}},required:[<|\"|>hourly<|\"|>],type:<|\"|>OBJECT<|\"|>},tags:{items:{"
          "type:<|\"|>STRING<|\"|>},type:<|\"|>ARRAY<|\"|>},unit:{enum:[<|\"|>celsius<|\"|>,<|\"|>"
          "fahrenheit<|\"|>],type:<|\"|>STRING<|\"|>}},required:[<|\"|>city<|\"|>],type:<|\"|>"
          "OBJECT<|\"|>}}<tool|><turn|>\n"
          "<|turn>user\n"
          "Weather in Paris?<turn|>\n"
          "<|turn>model\n"
          "<|channel>thought\n"
          "<channel|>"));
}

constexpr char kCall[] = R"(
    {"role": "user", "content": "Weather in Paris?"},
    {"role": "assistant", "reasoning_content": "I should call the tool.", "tool_calls": [
      {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments":
        {"city": "Paris", "days": 2, "f": 1.5, "opt": {"hourly": true}, "tags": ["a", "b"],
         "x": null}}}]},
    {"role": "tool", "tool_call_id": "c1", "content": "sunny, 21C"})";

constexpr char kRenderedCall[] =
    "<|tool_call>call:get_weather{city:<|\"|>Paris<|\"|>,days:2,f:1.5,opt:{hourly:true},tags:[<|\"|"
    ">a<|\"|>,<|\"|>b<|\"|>],x:null}<tool_call|><|tool_response>response:get_weather{value:<|\"|>"
    "sunny, 21C<|\"|>}<tool_response|>";

TEST(ChatTemplateTest, ToolResultWaitsForTheModel) {
  const std::string expected = absl::StrCat(
      "<|turn>user\n"
      "Weather in Paris?<turn|>\n"
      "<|turn>model\n"
      "<|channel>thought\n"
      "I should call the tool.\n"
      "<channel|>",
      kRenderedCall);
  EXPECT_THAT(Render(absl::StrCat("{\"enable_thinking\": true, \"messages\": [", kCall, "]}")),
              IsOkAndHolds(absl::StrCat("<bos><|turn>system\n<|think|>\n<turn|>\n", expected,
                                        "<|channel>thought\n")));
  EXPECT_THAT(Render(absl::StrCat("{\"messages\": [", kCall, "]}")),
              IsOkAndHolds(absl::StrCat("<bos>", expected)));
}

TEST(ChatTemplateTest, FinishedTurnCarriesNoThoughts) {
  EXPECT_THAT(Render(absl::StrCat("{\"messages\": [", kCall,
                                  R"(, {"role": "assistant", "content": "It is sunny."},
                                     {"role": "user", "content": "Thanks"}]})")),
              IsOkAndHolds(absl::StrCat("<bos><|turn>user\n"
                                        "Weather in Paris?<turn|>\n"
                                        "<|turn>model\n",
                                        kRenderedCall,
                                        "It is sunny.<turn|>\n"
                                        "<|turn>user\n"
                                        "Thanks<turn|>\n"
                                        "<|turn>model\n"
                                        "<|channel>thought\n"
                                        "<channel|>")));
}

TEST(ChatTemplateTest, HistoryWithoutThoughtsThenMedia) {
  EXPECT_THAT(Render(R"({"messages": [
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": "<|channel>thought\nHm.\n<channel|>Hello!"},
                {"role": "user", "content": [{"type": "image"},
                  {"type": "text", "text": "Describe."}, {"type": "audio"}]}]})"),
              IsOkAndHolds("<bos><|turn>user\n"
                           "Hi<turn|>\n"
                           "<|turn>model\n"
                           "Hello!<turn|>\n"
                           "<|turn>user\n"
                           "<|image|>Describe.<|audio|><turn|>\n"
                           "<|turn>model\n"
                           "<|channel>thought\n"
                           "<channel|>"));
}

// Given OpenAI's names of parts: expect the same placeholders.
TEST(ChatTemplateTest, PartsMayHaveTheirApiNames) {
  EXPECT_THAT(Render(R"({"add_generation_prompt": false, "messages": [{"role": "user", "content": [
                {"type": "image_url", "image_url": {"url": "x"}}, {"type": "input_audio"},
                {"type": "video_url"}, {"type": "input_text", "text": "a"}]}]})"),
              IsOkAndHolds("<bos><|turn>user\n<|image|><|audio|><|video|>a<turn|>\n"));
}

// Given schemas as code generators write them: expect what the template makes of them.
TEST(ChatTemplateTest, UnusualSchemas) {
  EXPECT_THAT(
      Render(R"({"add_generation_prompt": false, "messages": [{"role": "user", "content": ""}],
                 "tools": [{"function": {"name": "f", "parameters": {"properties": {
                   "a": {"type": ["string", "null"]}, "b": {"anyOf": []}, "c": true,
                   "d": {"type": "object", "x": {"type": "string"}},
                   "e": {"type": "array", "items": {"type": ["a", "b"], "z": {"k": null}}}}}}}]})"),
      IsOkAndHolds("<bos><|turn>system\n"
                   "<|tool>declaration:f{description:<|\"|><|\"|>,parameters:{properties:{"
                   "a:{type:<|\"|>['STRING', 'NULL']<|\"|>},b:{type:<|\"|><|\"|>},"
                   "c:{type:<|\"|><|\"|>},"
                   "d:{properties:{x:{type:<|\"|>STRING<|\"|>}},type:<|\"|>OBJECT<|\"|>},"
                   "e:{items:{type:[<|\"|>A<|\"|>,<|\"|>B<|\"|>],z:{<|\"|>k<|\"|>:null}},"
                   "type:<|\"|>ARRAY<|\"|>}},type:<|\"|>OBJECT<|\"|>}}<tool|><turn|>\n"
                   "<|turn>user\n<turn|>\n"));
}

// Given a request with one thing wrong: expect an error that names the field.
TEST(ChatTemplateTest, ErrorsNameTheField) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"({})", "messages is missing or empty"},
      {R"({"messages": []})", "messages is missing or empty"},
      {R"({"messages": "hi"})", "messages is not a list"},
      {R"({"messages": [1]})", "messages[0] is not an object"},
      {R"({"messages": [{}]})", "messages[0].role is missing"},
      {R"({"messages": [{"role": 1}]})", "messages[0].role is not a string"},
      {R"({"messages": [{"role": "user", "content": 1}]})",
       "messages[0].content is neither a string nor a list of parts"},
      {R"({"messages": [{"role": "user", "content": [1]}]})",
       "messages[0].content[0] is not an object"},
      {R"({"messages": [{"role": "user", "content": [{"type": "pdf"}]}]})",
       "messages[0].content[0].type 'pdf' is not supported"},
      {R"({"messages": [{"role": "user", "content": [{"type": "text"}]}]})",
       "messages[0].content[0].text is missing"},
      {R"({"messages": [{"role": "system", "content": [{"type": "image"}]}]})",
       "messages[0].content has media"},
      {R"({"messages": [{"role": "assistant", "reasoning": 1}]})",
       "messages[0].reasoning is not a string"},
      {R"({"messages": [{"role": "assistant", "tool_calls": 1}]})",
       "messages[0].tool_calls is not a list"},
      {R"({"messages": [{"role": "assistant", "tool_calls": [{}]}]})",
       "messages[0].tool_calls[0].function is missing or not an object"},
      {R"({"messages": [{"role": "assistant", "tool_calls": [{"function": {"arguments": []}}]}]})",
       "messages[0].tool_calls[0].function.arguments must be a JSON object (mapping), not a list"},
      {R"({"messages": [{"role": "assistant", "tool_responses": [1]}]})",
       "messages[0].tool_responses[0] is not an object"},
      {R"({"messages": [{"role": "assistant", "tool_calls": [{"id": 5, "function": {}}]},
                        {"role": "tool", "content": ""}]})",
       "id is not a string"},
      {R"({"messages": [{"role": "assistant", "tool_calls": [{"function": {}}]},
                        {"role": "tool", "content": {}}]})",
       "messages[1].content is neither a string nor a list of parts"},
      {R"({"messages": [{"role": "user"}], "tools": 1})", "tools is not a list"},
      {R"({"messages": [{"role": "user"}], "tools": [{}]})",
       "tools[0].function is missing or not an object"},
      {R"({"messages": [{"role": "user"}], "tools": [{"function": {}}]})",
       "tools[0].function.name is missing"},
      {R"({"messages": [{"role": "user"}], "tools": [{"function": {"name": "f",
           "parameters": {"properties": {"a": {"type": 1}}}}}]})",
       "tools[0].function.parameters.properties.a.type is not a string or list"},
      {R"({"messages": [{"role": "user"}], "enable_thinking": 1})",
       "enable_thinking is not a boolean"},
  };
  for (const auto& [arguments, message] : cases) {
    EXPECT_THAT(Render(arguments), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)))
        << arguments;
  }
}

}  // namespace
}  // namespace facet
