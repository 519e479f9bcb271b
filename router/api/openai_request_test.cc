#include "router/api/openai_request.h"

#include <boost/json.hpp>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "router/api/api_error.h"

namespace facet {
namespace {

using ::testing::ElementsAre;

constexpr char kHello[] = R"("messages":[{"role":"user","content":"Hi"}])";

absl::StatusOr<GenerationRequest> Chat(const std::string& fields) {
  return ParseChatRequest(absl::string_view(absl::StrCat("{", kHello, ",", fields, "}")));
}

// Given each kind of bad field, expect INVALID_ARGUMENT with the field's path.
TEST(OpenAiRequestTest, BadChatFieldsAreNamed) {
  const struct {
    const char* fields;
    const char* param;
  } kCases[] = {
      {R"("temperature":-0.1)", "temperature"},
      {R"("temperature":2.1)", "temperature"},
      {R"("temperature":"hot")", "temperature"},
      {R"("temperature":1e999)", "temperature"},
      {R"("top_p":1.5)", "top_p"},
      {R"("top_p":-1)", "top_p"},
      {R"("top_k":-2)", "top_k"},
      {R"("top_k":1.5)", "top_k"},
      {R"("min_p":2)", "min_p"},
      {R"("seed":"x")", "seed"},
      {R"("seed":1.5)", "seed"},
      {R"("n":0)", "n"},
      {R"("n":129)", "n"},
      {R"("max_tokens":0)", "max_tokens"},
      {R"("max_tokens":-5)", "max_tokens"},
      {R"("max_tokens":99999999999)", "max_tokens"},
      {R"("max_completion_tokens":0)", "max_completion_tokens"},
      {R"("presence_penalty":3)", "presence_penalty"},
      {R"("frequency_penalty":-3)", "frequency_penalty"},
      {R"("repetition_penalty":0)", "repetition_penalty"},
      {R"("logit_bias":[])", "logit_bias"},
      {R"("logit_bias":{"x":1})", "logit_bias"},
      {R"("logit_bias":{"5":101})", "logit_bias.5"},
      {R"("stop":7)", "stop"},
      {R"("stop":"")", "stop"},
      {R"("stop":["a",1])", "stop[1]"},
      {R"("stop":["1","2","3","4","5","6","7","8","9","0","a","b","c","d","e","f","g"])", "stop"},
      {R"("stream":"yes")", "stream"},
      {R"("stream_options":{"include_usage":true})", "stream_options"},
      {R"("stream":true,"stream_options":{"include_usage":1})", "stream_options.include_usage"},
      {R"("logprobs":3)", "logprobs"},
      {R"("reasoning_effort":"much")", "reasoning_effort"},
      {R"("reasoning_effort":2)", "reasoning_effort"},
      {R"("prompt_logprobs":21)", "prompt_logprobs"},
      {R"("prompt_logprobs":1,"stream":true)", "prompt_logprobs"},
      {R"("stream":true,"stream_options":{"continuous_usage_stats":1})",
       "stream_options.continuous_usage_stats"},
      {R"("top_logprobs":3)", "top_logprobs"},
      {R"("logprobs":true,"top_logprobs":21)", "top_logprobs"},
      {R"("ignore_eos":1)", "ignore_eos"},
      {R"("priority":0.5)", "priority"},
      {R"("priority":1000001)", "priority"},
      {R"("model":5)", "model"},
      {R"("response_format":{"type":"xml"})", "response_format.type"},
      {R"("response_format":{"type":"json_schema"})", "response_format.json_schema"},
      {R"("response_format":{"type":"json_schema","json_schema":{}})",
       "response_format.json_schema.schema"},
      {R"("response_format":{"type":"json_schema","json_schema":{"schema":[]}})",
       "response_format.json_schema.schema"},
      {R"("response_format":{"type":"json_schema","json_schema":{"schema":{},"strict":1}})",
       "response_format.json_schema.strict"},
      {R"("structured_outputs":[])", "structured_outputs"},
      {R"("structured_outputs":{"json":"{"})", "structured_outputs.json"},
      {R"("structured_outputs":{"json_object":"yes"})", "structured_outputs.json_object"},
      {R"("structured_outputs":{"regex":1})", "structured_outputs.regex"},
      {R"("structured_outputs":{"choice":[""]})", "structured_outputs.choice[0]"},
      {R"("structured_outputs":{"choice":[]})", "structured_outputs.choice"},
      {R"("structured_outputs":{"grammar":""})", "structured_outputs.grammar"},
      {R"("guided_json":1)", "guided_json"},
      {R"("guided_regex":"a","guided_json":{})", "guided_regex"},
      {R"("guided_choice":{})", "guided_choice"},
      {R"("guided_grammar":[])", "guided_grammar"},
      {R"("tools":{})", "tools"},
      {R"("tools":[{}])", "tools[0].type"},
      {R"("tools":[{"type":"function"}])", "tools[0].function"},
      {R"("tools":[{"type":"function","function":{"name":""}}])", "tools[0].function.name"},
      {R"("tools":[{"type":"function","function":{"name":"f","parameters":1}}])",
       "tools[0].function.parameters"},
      {R"("tool_choice":"required")", "tool_choice"},
      {R"("tool_choice":{"type":"function"})", "tool_choice.function"},
      {R"("tool_choice":{"type":"custom"})", "tool_choice.type"},
      {R"("tool_choice":{"type":"function","function":{"name":"f"}})", "tool_choice"},
      {R"("parallel_tool_calls":1)", "parallel_tool_calls"},
      {R"("chat_template_kwargs":1)", "chat_template_kwargs"},
      {R"("chat_template_kwargs":{"enable_thinking":"no"})",
       "chat_template_kwargs.enable_thinking"},
  };
  for (const auto& c : kCases) {
    const auto request = Chat(c.fields);
    EXPECT_EQ(request.status().code(), absl::StatusCode::kInvalidArgument) << c.fields;
    EXPECT_EQ(ParamOf(request.status()), c.param) << c.fields << ": " << request.status();
  }
}

// Given each kind of bad message, expect its path.
TEST(OpenAiRequestTest, BadMessagesAreNamed) {
  const struct {
    const char* messages;
    const char* param;
  } kCases[] = {
      {R"("Hi")", "messages"},
      {R"([])", "messages"},
      {R"([7])", "messages[0]"},
      {R"([{"content":"x"}])", "messages[0].role"},
      {R"([{"role":"king","content":"x"}])", "messages[0].role"},
      {R"([{"role":"user"}])", "messages[0].content"},
      {R"([{"role":"user","content":"a"},{"role":"user","content":5}])", "messages[1].content"},
      {R"([{"role":"user","content":["a"]}])", "messages[0].content[0]"},
      {R"([{"role":"user","content":[{"type":"text"}]}])", "messages[0].content[0].text"},
      {R"([{"role":"user","content":[{"type":"image"}]}])", "messages[0].content[0]"},
      {R"([{"role":"user","content":[{"type":"video","video":"x"}]}])", "messages[0].content[0]"},
      {R"([{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}])",
       "messages[0].content[0].image_url.url"},
      {R"([{"role":"assistant","tool_calls":[{}]}])", "messages[0].tool_calls[0].function"},
      {R"([{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"{"}}]}])",
       "messages[0].tool_calls[0].function.arguments"},
      {R"([{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"[1]"}}]}])",
       "messages[0].tool_calls[0].function.arguments"},
      {R"([{"role":"tool","tool_call_id":3,"content":"x"}])", "messages[0].tool_call_id"},
  };
  for (const auto& c : kCases) {
    const auto request =
        ParseChatRequest(absl::string_view(absl::StrCat("{\"messages\":", c.messages, "}")));
    EXPECT_EQ(request.status().code(), absl::StatusCode::kInvalidArgument) << c.messages;
    EXPECT_EQ(ParamOf(request.status()), c.param) << c.messages << ": " << request.status();
  }
}

// Given what is no JSON object, expect a message that says so, and no deep recursion.
TEST(OpenAiRequestTest, MalformedJsonIsRefused) {
  for (const std::string& body :
       {std::string(""), std::string("{"), std::string("[]"), std::string("nul"),
        std::string(R"({"temperature":NaN})"), std::string("{} {}"),
        std::string("{\"a\":\"\xff\"}"), std::string(100'000, '['),
        std::string("{\"a\":") + std::string(100, '[')}) {
    const auto request = ParseChatRequest(absl::string_view(body));
    EXPECT_EQ(request.status().code(), absl::StatusCode::kInvalidArgument) << body.substr(0, 20);
  }
}

// Given all fields, expect them in the internal form; null and unknown ones are as absent.
TEST(OpenAiRequestTest, ReadsAllFields) {
  const auto request = Chat(
      R"("model":"m","temperature":0,"top_p":0.5,"top_k":-1,"min_p":0.1,"seed":-1,"n":2,
         "max_tokens":5,"max_completion_tokens":7,"presence_penalty":1,"frequency_penalty":-1,
         "repetition_penalty":1.5,"logit_bias":{"3":-100},"stop":["a","b"],"stream":true,
         "stream_options":{"include_usage":true},"logprobs":true,"top_logprobs":2,
         "ignore_eos":true,"priority":-3,"user":null,"tools":null,"frobnicate":{"x":1})");
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->model, "m");
  EXPECT_EQ(request->sampling.temperature, 0.0f);
  EXPECT_EQ(request->sampling.top_p, 0.5f);
  EXPECT_EQ(request->sampling.top_k, 0u);
  EXPECT_EQ(request->sampling.seed, ~uint64_t{0});
  EXPECT_EQ(request->sampling.logit_bias.at(3), -100);
  EXPECT_EQ(request->sampling.top_logprobs, 2u);
  EXPECT_EQ(request->choices_per_prompt, 2);
  EXPECT_EQ(request->tokens_max, 7u);
  EXPECT_THAT(request->stop, ElementsAre("a", "b"));
  EXPECT_TRUE(request->stream && request->include_usage && request->ignore_eos);
  EXPECT_EQ(request->priority, -3);
  EXPECT_FALSE(request->parse_tool_calls);
}

// Given tools and template arguments, expect them where the template reads them; `none` hides
// the tools.
TEST(OpenAiRequestTest, ToolsAndTemplateArgumentsReachTheTemplate) {
  const std::string tools = R"("tools":[{"type":"function","function":{"name":"f"}}])";
  const auto request =
      Chat(absl::StrCat(tools, R"(,"chat_template_kwargs":{"enable_thinking":true})"));
  ASSERT_TRUE(request.ok()) << request.status();
  const boost::json::object& chat = *std::get<ChatPrompt>(request->prompts[0]);
  EXPECT_TRUE(request->parse_tool_calls);
  EXPECT_TRUE(chat.contains("tools"));
  EXPECT_EQ(chat.at("enable_thinking"), true);
  const auto none = Chat(absl::StrCat(tools, R"(,"tool_choice":"none")"));
  ASSERT_TRUE(none.ok());
  EXPECT_FALSE(none->parse_tool_calls);
  EXPECT_FALSE(std::get<ChatPrompt>(none->prompts[0])->contains("tools"));
}

// Given a call's arguments as JSON text, expect the object that the template takes.
TEST(OpenAiRequestTest, CallArgumentsBecomeObjects) {
  const auto request = ParseChatRequest(absl::string_view(
      R"({"messages":[{"role":"assistant","tool_calls":[
          {"id":"1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}},
          {"id":"2","type":"function","function":{"name":"g","arguments":""}}]}]})"));
  ASSERT_TRUE(request.ok()) << request.status();
  const auto& calls =
      std::get<ChatPrompt>(request->prompts[0])->at("messages").at(0).at("tool_calls").as_array();
  EXPECT_EQ(calls[0].at("function").at("arguments").at("a"), 1);
  EXPECT_TRUE(calls[1].at("function").at("arguments").as_object().empty());
}

// Given each form of prompt, expect it; given mixed ones, their path.
TEST(OpenAiRequestTest, CompletionPrompts) {
  const auto parse = [](const std::string& prompt) {
    return ParseCompletionRequest(absl::StrCat("{\"prompt\":", prompt, "}"));
  };
  EXPECT_EQ(std::get<std::string>(parse("\"a\"")->prompts[0]), "a");
  EXPECT_EQ(parse(R"(["a","b"])")->prompts.size(), 2u);
  EXPECT_THAT(std::get<std::vector<int>>(parse("[1,2]")->prompts[0]), ElementsAre(1, 2));
  EXPECT_THAT(std::get<std::vector<int>>(parse("[[1],[2,3]]")->prompts[1]), ElementsAre(2, 3));
  EXPECT_EQ(parse("\"a\"")->tokens_max, 16u);
  EXPECT_EQ(ParamOf(parse("5").status()), "prompt");
  EXPECT_EQ(ParamOf(parse("[]").status()), "prompt");
  EXPECT_EQ(ParamOf(parse("[1,-2]").status()), "prompt[1]");
  EXPECT_EQ(ParamOf(parse(R"(["a",[1]])").status()), "prompt[1]");
  EXPECT_EQ(ParamOf(parse(R"([[1],["a"]])").status()), "prompt[1][0]");
  EXPECT_EQ(ParamOf(ParseCompletionRequest("{}").status()), "prompt");
  EXPECT_EQ(ParamOf(ParseCompletionRequest(R"({"prompt":["a","b"],"n":100})").status()), "prompt");
}

// Given an error, expect OpenAI's form.
TEST(ApiErrorTest, Body) {
  const auto body = boost::json::parse(ErrorBody(InvalidParam("n", "Bad.", "c"))).at("error");
  EXPECT_EQ(body.at("message"), "Bad.");
  EXPECT_EQ(body.at("type"), "invalid_request_error");
  EXPECT_EQ(body.at("param"), "n");
  EXPECT_EQ(body.at("code"), "c");
  EXPECT_TRUE(boost::json::parse(ErrorBody(413, "x")).at("error").at("param").is_null());
}

}  // namespace
}  // namespace facet
