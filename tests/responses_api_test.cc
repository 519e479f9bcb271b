// /v1/responses of a whole router, with workers that have no model.

#include <boost/json.hpp>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/testing/files.h"
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

class ResponsesApiTest : public RouterTest {
 protected:
  ResponsesApiTest() { options_.api.responses.folder = folder_; }
  Response Ask(absl::string_view input, absl::string_view fields = "") {
    return Post("/v1/responses",
                absl::StrCat(R"({"input":)", input, fields.empty() ? "" : ",", fields, "}"));
  }

  const std::string folder_ = testing::EmptyFolder("responses");
};

constexpr char kTools[] =
    R"("tools":[{"type":"function","name":"f","parameters":{"type":"object"}}])";

// Given a text, expect OpenAI's response with one message, and what the request said repeated.
TEST_F(ResponsesApiTest, AnswersWhole) {
  StartAll();
  const Response response = Ask("\"Hi\"", R"("metadata":{"a":"b"},"temperature":0.5)");
  ASSERT_EQ(response.status, 200) << response.body;
  const json::value body = response.Json();
  EXPECT_EQ(body.at("object"), "response");
  EXPECT_THAT(std::string(body.at("id").as_string()), StartsWith("resp_"));
  EXPECT_EQ(body.at("status"), "completed");
  ASSERT_EQ(body.at("output").as_array().size(), 1u);
  EXPECT_EQ(body.at("output").at(0).at("type"), "message");
  EXPECT_EQ(body.at("output").at(0).at("content").at(0).at("text"), kAnswer);
  EXPECT_EQ(body.at("metadata").at("a"), "b");
  EXPECT_EQ(body.at("temperature"), 0.5);
  EXPECT_EQ(body.at("usage").at("output_tokens"), SmallIds(kAnswer).size() + 1);
  EXPECT_EQ(body.at("store"), true);
}

// Given thinking and a call, expect an item for each; thoughts are counted.
TEST_F(ResponsesApiTest, ItemsOfEachKind) {
  StartAll();
  SetAnswerText(kThinkAndCall);
  const json::value body = Ask("\"Hi\"", kTools).Json();
  const json::array& output = body.at("output").as_array();
  ASSERT_EQ(output.size(), 3u);
  EXPECT_EQ(output[0].at("type"), "reasoning");
  EXPECT_EQ(output[0].at("content").at(0).at("text"), "Hm.");
  EXPECT_EQ(output[1].at("content").at(0).at("text"), "Now:");
  EXPECT_EQ(output[2].at("type"), "function_call");
  EXPECT_EQ(output[2].at("name"), "f");
  EXPECT_EQ(json::parse(output[2].at("arguments").as_string()).at("a"), "x");
  EXPECT_EQ(body.at("usage").at("output_tokens_details").at("reasoning_tokens"),
            SmallIds("<|channel>thought\nHm.<channel|>").size());
}

// Given a stream, expect the events in their order, numbered from 0, and the whole at the end.
TEST_F(ResponsesApiTest, Streams) {
  StartAll();
  SetAnswerText(kThinkAndCall);
  const auto events = NamedEvents(Ask("\"Hi\"", absl::StrCat(kTools, R"(,"stream":true)")).body);
  std::vector<std::string> order;
  std::string text;
  for (size_t i = 0; i < events.size(); ++i) {
    const auto& [name, data] = events[i];
    EXPECT_EQ(data.at("sequence_number"), i);
    if (order.empty() || order.back() != name) order.push_back(name);
    if (name == "response.output_text.delta") text += data.at("delta").as_string().c_str();
  }
  EXPECT_EQ(text, "Now:");
  EXPECT_THAT(order,
              ElementsAre("response.created", "response.in_progress",  //
                          "response.output_item.added", "response.content_part.added",
                          "response.reasoning_text.delta", "response.reasoning_text.done",
                          "response.content_part.done", "response.output_item.done",
                          "response.output_item.added", "response.content_part.added",
                          "response.output_text.delta", "response.output_text.done",
                          "response.content_part.done", "response.output_item.done",
                          "response.output_item.added", "response.function_call_arguments.delta",
                          "response.function_call_arguments.done", "response.output_item.done",
                          "response.completed"));
  const json::value& last = events.back().second.at("response");
  EXPECT_EQ(last.at("output").as_array().size(), 3u);
  EXPECT_EQ(last.at("status"), "completed");
  EXPECT_GT(last.at("usage").at("total_tokens").as_int64(), 0);
  EXPECT_EQ(events.front().second.at("response").at("id"), last.at("id"));
}

// Given too few tokens, expect an incomplete response that says so; after an error, a failed one.
TEST_F(ResponsesApiTest, IncompleteAndFailed) {
  StartAll(1);
  SetAnswer([](const v1::GenerateRequest&) {
    return FakeWorker::Answer{SmallIds("ab"), v1::FINISH_REASON_LENGTH};
  });
  const json::value body = Ask("\"Hi\"", R"("max_output_tokens":2)").Json();
  EXPECT_EQ(body.at("status"), "incomplete");
  EXPECT_EQ(body.at("incomplete_details").at("reason"), "max_output_tokens");
  EXPECT_EQ(body.at("output").at(0).at("status"), "incomplete");
  const auto events = NamedEvents(BrokenStream("/v1/responses", R"({"input":"Hi","stream":true})"));
  ASSERT_FALSE(events.empty());
  EXPECT_EQ(events.back().first, "response.failed");
  EXPECT_EQ(events.back().second.at("response").at("error").at("message"), "broken");
}

// Given items of every kind, expect the prompt of the same chat.
TEST_F(ResponsesApiTest, ItemsBecomeThePrompt) {
  StartAll(1);
  ASSERT_EQ(Ask(R"([{"role":"user","content":[{"type":"input_text","text":"Weather?"}]},
      {"type":"reasoning","summary":[],"content":[{"type":"reasoning_text","text":"Ask."}]},
      {"type":"function_call","call_id":"c1","name":"f","arguments":"{\"a\":2}"},
      {"type":"function_call_output","call_id":"c1","output":"sunny"}])",
                R"("instructions":"Be terse.","reasoning":{"effort":"high"})")
                .status,
            200);
  EXPECT_EQ(LastPrompt(),
            "<bos><|turn>system\n<|think|>\nBe terse.<turn|>\n<|turn>user\nWeather?<turn|>\n"
            "<|turn>model\n<|channel>thought\nAsk.\n<channel|><|tool_call>call:f{a:2}<tool_call|>"
            "<|tool_response>response:f{value:<|\"|>sunny<|\"|>}<tool_response|>"
            "<|channel>thought\n");
}

// Given previous_response_id, expect the conversation before the new input, from any router of the
// folder; its instructions are not carried over.
TEST_F(ResponsesApiTest, GoesOnFromAPreviousResponse) {
  StartAll(1);
  const json::value first = Ask("\"Hi\"", R"("instructions":"Be terse.")").Json();
  const std::string id(first.at("id").as_string());
  router_ = nullptr;
  StartRouter({workers_[0]->address()});
  AwaitWorker(workers_[0]->address(), true);
  const std::string previous = absl::StrCat(R"("previous_response_id":")", id, "\"");
  const json::value second = Ask("\"And?\"", previous).Json();
  EXPECT_EQ(LastPrompt(), absl::StrCat("<bos><|turn>user\nHi<turn|>\n<|turn>model\n", kAnswer,
                                       "<turn|>\n<|turn>user\nAnd?<turn|>\n<|turn>model\n"
                                       "<|channel>thought\n<channel|>"));
  EXPECT_EQ(second.at("previous_response_id"), id.c_str());

  EXPECT_EQ(Get("/v1/responses/" + id).Json(), first);
  const Response deleted = Connect().Send("DELETE", "/v1/responses/" + id);
  EXPECT_EQ(deleted.Json().at("deleted"), true);
  EXPECT_EQ(Get("/v1/responses/" + id).status, 404);
  const Response gone = Ask("\"And?\"", previous);
  EXPECT_EQ(gone.status, 404);
  EXPECT_EQ(gone.Json().at("error").at("code"), "previous_response_not_found");
  EXPECT_EQ(gone.Json().at("error").at("param"), "previous_response_id");
  EXPECT_EQ(Post("/v1/responses/" + id, "{}").status, 405);
}

// Given a response that goes on from another, expect what both were asked, with ids that stay, in
// pages and in either order.
TEST_F(ResponsesApiTest, ListsInputItems) {
  StartAll(1);
  const std::string first(Ask("\"Hi\"").Json().at("id").as_string());
  const std::string second(
      Ask(R"([{"role":"user","content":[{"type":"input_text","text":"And?"}],"id":"msg_mine"}])",
          absl::StrCat(R"("previous_response_id":")", first, "\""))
          .Json()
          .at("id")
          .as_string());
  const std::string path = absl::StrCat("/v1/responses/", second, "/input_items");
  const json::value list = Get(path + "?order=asc").Json();
  EXPECT_EQ(list.at("object"), "list");
  EXPECT_EQ(list.at("has_more"), false);
  const json::array& data = list.at("data").as_array();
  ASSERT_EQ(data.size(), 3u);
  EXPECT_EQ(data[0].at("role"), "user");
  EXPECT_EQ(data[0].at("type"), "message");
  EXPECT_EQ(data[0].at("content"),
            (json::array{json::object{{"type", "input_text"}, {"text", "Hi"}}}));
  EXPECT_EQ(data[1].at("role"), "assistant");
  EXPECT_EQ(data[1].at("content").at(0).at("text"), kAnswer);
  EXPECT_EQ(data[2].at("id"), "msg_mine");
  EXPECT_EQ(list.at("first_id"), data[0].at("id"));
  EXPECT_EQ(list.at("last_id"), "msg_mine");

  const json::value newest = Get(path + "?limit=2").Json();
  EXPECT_EQ(newest.at("data"), (json::array{data[2], data[1]}));
  EXPECT_EQ(newest.at("has_more"), true);
  const json::value rest =
      Get(absl::StrCat(path, "?limit=2&after=", newest.at("last_id").as_string().c_str())).Json();
  EXPECT_EQ(rest.at("data"), (json::array{data[0]}));
  EXPECT_EQ(rest.at("has_more"), false);

  const struct {
    const char *query, *param;
  } kWrong[] = {{"?limit=0", "limit"},
                {"?limit=101", "limit"},
                {"?limit=x", "limit"},
                {"?order=up", "order"},
                {"?after=item_x", "after"}};
  for (const auto& wrong : kWrong) {
    const Response response = Get(path + wrong.query);
    EXPECT_EQ(response.status, 400) << wrong.query;
    EXPECT_EQ(response.Json().at("error").at("param"), wrong.param);
  }
  const Response unknown = Get("/v1/responses/resp_0123456789abcdef01234567/input_items");
  EXPECT_EQ(unknown.status, 404);
  EXPECT_EQ(unknown.Json().at("error").at("code"), "previous_response_not_found");
  EXPECT_EQ(Post(path, "{}").status, 405);
  EXPECT_EQ(Get("/v1/responses/a/b").status, 404);
}

// Given store = false, or no folder, expect nothing kept and the answer to say so.
TEST_F(ResponsesApiTest, KeepsOnlyWhatIsToBeKept) {
  StartAll(1);
  const json::value body = Ask("\"Hi\"", R"("store":false)").Json();
  EXPECT_EQ(body.at("store"), false);
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
  options_.api.responses.folder = "";
  router_ = nullptr;
  StartRouter({workers_[0]->address()});
  AwaitWorker(workers_[0]->address(), true);
  EXPECT_EQ(Ask("\"Hi\"").Json().at("store"), false);
}

// Given bad bodies, expect 400 that names the field as the client wrote it.
TEST_F(ResponsesApiTest, ErrorsNameTheFieldAsWritten) {
  StartAll();
  const struct {
    const char* body;
    const char* param;
  } kCases[] = {
      {R"({})", "input"},
      {R"({"input":[]})", "input"},
      {R"({"input":3})", "input"},
      {R"({"input":[3]})", "input[0]"},
      {R"({"input":[{"role":"tool","content":"a"}]})", "input[0].role"},
      {R"({"input":[{"role":"user"}]})", "input[0].content"},
      {R"({"input":[{"role":"user","content":[{"type":"input_file"}]}]})", "input[0].content[0]"},
      {R"({"input":[{"role":"user","content":[{"type":"input_text"}]}]})",
       "input[0].content[0].text"},
      {R"({"input":[{"type":"web_search_call"}]})", "input[0]"},
      {R"({"input":"a","instructions":"b","tools":[{"type":"web_search"}]})", "tools[0].type"},
      {R"({"input":"a","tools":[{"type":"function"}]})", "tools[0].name"},
      {R"({"input":[{"role":"user","content":"a"},{"type":"function_call","call_id":"c","name":"f",
          "arguments":"no"}]})",
       "input[1].arguments"},
      {R"({"input":"a","max_output_tokens":0})", "max_output_tokens"},
      {R"({"input":"a","reasoning":{"effort":"much"}})", "reasoning.effort"},
      {R"({"input":"a","text":{"format":{}}})", "text.format.type"},
      {R"({"input":"a","metadata":{"a":1}})", "metadata"},
      {R"({"input":"a","store":1})", "store"},
      {R"({"input":"a","background":true})", "background"},
      {R"({"input":"a","truncation":"auto"})", "truncation"},
      {R"({"input":"a","include":["message.output_text.logprobs"]})", "include"},
      {R"({"input":"a","temperature":3})", "temperature"},
  };
  for (const auto& [body, param] : kCases) {
    const Response response = Post("/v1/responses", body);
    EXPECT_EQ(response.status, 400) << body;
    EXPECT_EQ(response.Json().at("error").at("param"), param) << body << response.body;
    EXPECT_THAT(std::string(response.Json().at("error").at("message").as_string()),
                ::testing::Not(HasSubstr("messages[")));
  }
  for (const auto& worker : workers_) EXPECT_EQ(worker->started(), 0);
}

}  // namespace
}  // namespace facet
