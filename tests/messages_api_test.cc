// /v1/messages of a whole router, with workers that have no model.

#include <boost/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/named_events.h"
#include "tests/router_fixture.h"

namespace facet {
namespace {

namespace json = boost::json;
using ::facet::testing::FakeWorker;
using ::facet::testing::NamedEvents;
using ::facet::testing::Response;
using ::facet::testing::RouterTest;
using ::facet::testing::SmallIds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class MessagesApiTest : public RouterTest {
 protected:
  Response Messages(absl::string_view fields = "") {
    return Post("/v1/messages",
                absl::StrCat(R"({"max_tokens":100,"messages":[{"role":"user","content":"Hi"}])",
                             fields.empty() ? "" : ",", fields, "}"));
  }
  std::string PromptOf(absl::string_view fields) {
    EXPECT_EQ(Post("/v1/messages", absl::StrCat(R"({"max_tokens":100,)", fields, "}")).status, 200);
    return LastPrompt();
  }
};

constexpr char kTools[] = R"("tools":[{"name":"f","input_schema":{"type":"object"}}])";

// Given a message, expect Anthropic's object; cached tokens are counted apart.
TEST_F(MessagesApiTest, AnswersWhole) {
  StartAll();
  const Response response = Messages();
  ASSERT_EQ(response.status, 200) << response.body;
  const json::value body = response.Json();
  EXPECT_EQ(body.at("type"), "message");
  EXPECT_EQ(body.at("role"), "assistant");
  EXPECT_THAT(std::string(body.at("id").as_string()), StartsWith("msg_"));
  EXPECT_EQ(body.at("content"), (json::array{{{"type", "text"}, {"text", kAnswer}}}));
  EXPECT_EQ(body.at("stop_reason"), "end_turn");
  EXPECT_TRUE(body.at("stop_sequence").is_null());
  EXPECT_EQ(body.at("usage").at("output_tokens"), SmallIds(kAnswer).size() + 1);
  EXPECT_GT(body.at("usage").at("input_tokens").as_int64(), 0);
}

// Given thinking and a call, expect a block for each, whole and as a stream.
TEST_F(MessagesApiTest, BlocksOfEachKind) {
  StartAll();
  SetAnswerText(kThinkAndCall);
  const json::value body = Messages(kTools).Json();
  const json::array& content = body.at("content").as_array();
  ASSERT_EQ(content.size(), 3u);
  EXPECT_EQ(content[0].at("thinking"), "Hm.");
  EXPECT_EQ(content[1].at("text"), "Now:");
  EXPECT_EQ(content[2].at("type"), "tool_use");
  EXPECT_EQ(content[2].at("name"), "f");
  EXPECT_EQ(content[2].at("input").at("a"), "x");
  EXPECT_EQ(body.at("stop_reason"), "tool_use");

  std::vector<std::string> order;
  std::string thinking, text, input;
  for (const auto& [name, data] :
       NamedEvents(Messages(absl::StrCat(kTools, R"(,"stream":true)")).body)) {
    if (order.empty() || order.back() != name) order.push_back(name);
    if (name != "content_block_delta") continue;
    const json::object& delta = data.at("delta").as_object();
    if (delta.contains("thinking")) thinking += delta.at("thinking").as_string().c_str();
    if (delta.contains("text")) text += delta.at("text").as_string().c_str();
    if (delta.contains("partial_json")) input += delta.at("partial_json").as_string().c_str();
  }
  EXPECT_THAT(order, ElementsAre("message_start", "content_block_start", "content_block_delta",
                                 "content_block_stop", "content_block_start", "content_block_delta",
                                 "content_block_stop", "content_block_start", "content_block_delta",
                                 "content_block_stop", "message_delta", "message_stop"));
  EXPECT_EQ(thinking, "Hm.");
  EXPECT_EQ(text, "Now:");
  EXPECT_EQ(json::parse(input).at("a"), "x");
}

// Given a stop sequence, expect it told; given too few tokens, that.
TEST_F(MessagesApiTest, TellsWhyItStopped) {
  StartAll();
  SetAnswerText("abcSTOPdef");
  json::value body = Messages(R"("stop_sequences":["no","STOP"])").Json();
  EXPECT_EQ(body.at("content").at(0).at("text"), "abc");
  EXPECT_EQ(body.at("stop_reason"), "stop_sequence");
  EXPECT_EQ(body.at("stop_sequence"), "STOP");
  SetAnswer([](const v1::GenerateRequest&) {
    return FakeWorker::Answer{SmallIds("abc"), v1::FINISH_REASON_LENGTH};
  });
  EXPECT_EQ(Messages().Json().at("stop_reason"), "max_tokens");
}

// Given a conversation with thinking, a call and its result, expect the prompt of the same chat.
TEST_F(MessagesApiTest, ConversationBecomesThePrompt) {
  StartAll(1);
  EXPECT_EQ(
      PromptOf(R"("system":[{"type":"text","text":"Be terse."}],"thinking":{"type":"enabled",
        "budget_tokens":2000},"messages":[
        {"role":"user","content":[{"type":"text","text":"Weather?"}]},
        {"role":"assistant","content":[
          {"type":"thinking","thinking":"Ask.","signature":""},
          {"type":"tool_use","id":"t1","name":"f","input":{"a":2}}]},
        {"role":"user","content":[
          {"type":"tool_result","tool_use_id":"t1","content":[{"type":"text","text":"sunny"}]}]}])"),
      "<bos><|turn>system\n<|think|>\nBe terse. <turn|>\n<|turn>user\nWeather?<turn|>\n"
      "<|turn>model\n<|channel>thought\nAsk.\n<channel|><|tool_call>call:f{a:2}<tool_call|>"
      "<|tool_response>response:f{value:<|\"|>sunny<|\"|>}<tool_response|><|channel>thought\n");
}

// Given text beside a tool result, expect a turn of the user behind it.
TEST_F(MessagesApiTest, TextAfterAToolResultIsTheUsers) {
  StartAll(1);
  EXPECT_THAT(PromptOf(R"("messages":[{"role":"user","content":"a"},
        {"role":"assistant","content":[{"type":"tool_use","id":"t1","name":"f","input":{}}]},
        {"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":"b"},
                                  {"type":"text","text":"c"}]}])"),
              HasSubstr("response:f{value:<|\"|>b<|\"|>}<tool_response|><turn|>\n<|turn>user\nc"));
}

// Given bad bodies, expect 400 in Anthropic's form that names the field as the client wrote it.
TEST_F(MessagesApiTest, ErrorsNameTheFieldAsWritten) {
  StartAll();
  const struct {
    const char* body;
    const char* field;
  } kCases[] = {
      {R"({"messages":[{"role":"user","content":"a"}]})", "`max_tokens`"},
      {R"({"max_tokens":0,"messages":[{"role":"user","content":"a"}]})", "`max_tokens`"},
      {R"({"max_tokens":9})", "`messages`"},
      {R"({"max_tokens":9,"messages":[{"role":"system","content":"a"}]})", "`messages[0].role`"},
      {R"({"max_tokens":9,"messages":[{"role":"user"}]})", "`messages[0].content`"},
      {R"({"max_tokens":9,"messages":[{"role":"user","content":[{"type":"text"}]}]})",
       "`messages[0].content[0].text`"},
      {R"({"max_tokens":9,"messages":[{"role":"user","content":[{"type":"document"}]}]})",
       "`messages[0].content[0]`"},
      {R"({"max_tokens":9,"messages":[{"role":"user","content":[{"type":"image","source":
          {"type":"base64","media_type":"image/png"}}]}]})",
       "`messages[0].content[0].source.data`"},
      {R"({"max_tokens":9,"messages":[{"role":"user","content":[{"type":"tool_result"}]}]})",
       "`messages[0].content[0].tool_use_id`"},
      {R"({"max_tokens":9,"system":3,"messages":[{"role":"user","content":"a"}]})", "`system`"},
      {R"({"max_tokens":9,"stop_sequences":[1],"messages":[{"role":"user","content":"a"}]})",
       "`stop_sequences[0]`"},
      {R"({"max_tokens":9,"tools":[{"name":"f"}],"messages":[{"role":"user","content":"a"}]})",
       "`tools[0].input_schema`"},
      {R"({"max_tokens":9,"tools":[{"name":"","input_schema":{}}],
          "messages":[{"role":"user","content":"a"}]})",
       "`tools[0].name`"},
      {R"({"max_tokens":9,"thinking":{"type":"on"},"messages":[{"role":"user","content":"a"}]})",
       "`thinking.type`"},
      {R"({"max_tokens":9,"tool_choice":{"type":"no"},"messages":[{"role":"user","content":"a"}]})",
       "`tool_choice.type`"},
      {R"({"max_tokens":9,"temperature":3,"messages":[{"role":"user","content":"a"}]})",
       "`temperature`"},
  };
  for (const auto& [body, field] : kCases) {
    const Response response = Post("/v1/messages", body);
    EXPECT_EQ(response.status, 400) << body;
    const json::value answer = response.Json();
    EXPECT_EQ(answer.at("type"), "error");
    EXPECT_EQ(answer.at("error").at("type"), "invalid_request_error");
    EXPECT_THAT(std::string(answer.at("error").at("message").as_string()), HasSubstr(field))
        << body;
  }
  EXPECT_EQ(Messages(R"("model":"other")").Json().at("error").at("type"), "not_found_error");
  for (const auto& worker : workers_) EXPECT_EQ(worker->started(), 0);
}

// Given a worker that dies in a stream, expect an error event and no message_stop.
TEST_F(MessagesApiTest, ErrorInAStream) {
  StartAll(1);
  const auto events = NamedEvents(BrokenStream(
      "/v1/messages",
      R"({"max_tokens":9,"stream":true,"messages":[{"role":"user","content":"Hi"}]})"));
  ASSERT_FALSE(events.empty());
  EXPECT_EQ(events.back().first, "error");
  EXPECT_EQ(events.back().second.at("error").at("type"), "api_error");
}

// Given count_tokens, expect the tokens that the message itself counts.
TEST_F(MessagesApiTest, CountsTokens) {
  StartAll();
  const Response count =
      Post("/v1/messages/count_tokens", R"({"messages":[{"role":"user","content":"Hi"}]})");
  ASSERT_EQ(count.status, 200) << count.body;
  EXPECT_EQ(count.Json().at("input_tokens"), Messages().Json().at("usage").at("input_tokens"));
  EXPECT_EQ(Post("/v1/messages/count_tokens", "{}").status, 400);
}

}  // namespace
}  // namespace facet
