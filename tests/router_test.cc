// A whole router in this process, over loopback, with workers that have no model.

#include "router/router.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <boost/json.hpp>
#include <limits>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"
#include "base/check.h"
#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/media/testing/test_media.h"
#include "proto/inference.grpc.pb.h"
#include "tests/fake_worker/fake_worker.h"
#include "tests/fake_worker/small_model.h"
#include "tests/raw_call.h"
#include "tests/router_fixture.h"

namespace facet {
namespace {

namespace json = boost::json;
using ::facet::testing::ChatBody;
using ::facet::testing::Client;
using ::facet::testing::Content;
using ::facet::testing::Events;
using ::facet::testing::FakeWorker;
using ::facet::testing::RawCall;
using ::facet::testing::ReadGolden;
using ::facet::testing::Response;
using ::facet::testing::RouterTest;
using ::facet::testing::SmallDescription;
using ::facet::testing::SmallIds;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

// ---------------------------------------------------------------- answers

// Given a chat, expect OpenAI's object, with usage that counts the stop id.
TEST_F(RouterTest, ChatAnswersWhole) {
  StartAll();
  const Response response = Chat(R"("model":"small")");
  EXPECT_EQ(response.status, 200);
  const json::value body = response.Json();
  EXPECT_EQ(body.at("object"), "chat.completion");
  EXPECT_THAT(std::string(body.at("id").as_string()), StartsWith("chatcmpl-"));
  EXPECT_EQ(body.at("model"), "small");
  const json::value& choice = body.at("choices").at(0);
  EXPECT_EQ(choice.at("message").at("role"), "assistant");
  EXPECT_EQ(choice.at("message").at("content"), kAnswer);
  EXPECT_EQ(choice.at("finish_reason"), "stop");
  EXPECT_EQ(body.at("usage").at("completion_tokens"), SmallIds(kAnswer).size() + 1);
  EXPECT_EQ(body.at("usage").at("total_tokens").as_int64(),
            body.at("usage").at("prompt_tokens").as_int64() +
                body.at("usage").at("completion_tokens").as_int64());
}

// Given stream, expect the role first, the text in pieces, the reason, then usage, then the end.
TEST_F(RouterTest, ChatStreams) {
  StartAll();
  const Response response = Chat(R"("stream":true,"stream_options":{"include_usage":true})");
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.headers.at("content-type"), "text/event-stream");
  const std::vector<json::value> events = Events(response.body);
  ASSERT_GT(events.size(), 3u);
  EXPECT_EQ(events[0].at("object"), "chat.completion.chunk");
  EXPECT_EQ(events[0].at("choices").at(0).at("delta").at("role"), "assistant");
  EXPECT_TRUE(events[0].at("usage").is_null());
  EXPECT_EQ(Content(events), kAnswer);
  EXPECT_EQ(events[events.size() - 2].at("choices").at(0).at("finish_reason"), "stop");
  EXPECT_TRUE(events.back().at("choices").as_array().empty());
  EXPECT_EQ(events.back().at("usage").at("completion_tokens"), SmallIds(kAnswer).size() + 1);
}

// Given thinking and a tool call in the output, expect them apart from the content.
TEST_F(RouterTest, ThinkingAndToolCallsAreTold) {
  StartAll();
  SetAnswerText(kThinkAndCall);
  const std::string tools = R"("tools":[{"type":"function","function":{"name":"f"}}])";
  const json::value choice = Chat(tools).Json().at("choices").at(0);
  EXPECT_EQ(choice.at("message").at("reasoning_content"), "Hm.");
  EXPECT_EQ(choice.at("message").at("reasoning"), "Hm.");
  EXPECT_EQ(choice.at("message").at("content"), "Now:");
  const json::value& call = choice.at("message").at("tool_calls").at(0);
  EXPECT_EQ(call.at("function").at("name"), "f");
  EXPECT_EQ(json::parse(call.at("function").at("arguments").as_string()).at("a"), "x");
  EXPECT_EQ(choice.at("finish_reason"), "tool_calls");

  const auto events = Events(Chat(absl::StrCat(tools, ",\"stream\":true")).body);
  EXPECT_EQ(Content(events, "reasoning_content"), "Hm.");
  EXPECT_EQ(Content(events), "Now:");
  EXPECT_EQ(events.back().at("choices").at(0).at("finish_reason"), "tool_calls");
}

// Given n = 3, expect three choices with their own sample indices, and the prompt counted once.
TEST_F(RouterTest, SeveralChoices) {
  StartAll();
  SetAnswer([](const v1::GenerateRequest& request) {
    return FakeWorker::Answer{SmallIds(absl::StrCat("no ", request.sampling().sample_index()))};
  });
  const json::value body = Chat(R"("n":3)").Json();
  ASSERT_EQ(body.at("choices").as_array().size(), 3u);
  EXPECT_EQ(body.at("choices").at(2).at("message").at("content"), "no 2");
  EXPECT_EQ(body.at("usage").at("completion_tokens"), 3 * SmallIds("no 1").size());
  const auto events = Events(Chat(R"("n":3,"stream":true)").body);
  EXPECT_EQ(Content(events, "content", 1), "no 1");
}

// Given a stop string, expect the text cut before it, a cancel at the worker, usage up to the cut.
TEST_F(RouterTest, StopStringCutsAndCancels) {
  StartAll(1);
  SetAnswerText("abcSTOPdef");
  workers_[0]->HoldAfter(8);
  const json::value body = Chat(R"("stop":["STOP"])").Json();
  EXPECT_EQ(body.at("choices").at(0).at("message").at("content"), "abc");
  EXPECT_EQ(body.at("choices").at(0).at("finish_reason"), "stop");
  EXPECT_EQ(body.at("usage").at("completion_tokens"), 7);
  EXPECT_TRUE(workers_[0]->AwaitCancelled(1));
}

// Given a stop string that may be forming, expect its beginning not to be streamed.
TEST_F(RouterTest, StopStringIsHeldBackInStreams) {
  StartAll(1);
  SetAnswerText("abSTOx");
  workers_[0]->HoldAfter(5);
  Client client = Connect();
  client.Write(Client::RequestText("POST", "/v1/chat/completions",
                                   ChatBody(R"("stream":true,"stop":"STOP")")));
  EXPECT_EQ(client.ReadHeader().status, 200);
  std::string body;
  while (!absl::StrContains(body, "b\"")) body += client.ReadChunk();
  EXPECT_THAT(body, Not(HasSubstr("S")));
  workers_[0]->Release();
  for (std::string chunk = client.ReadChunk(); !chunk.empty(); chunk = client.ReadChunk()) {
    body += chunk;
  }
  EXPECT_EQ(Content(Events(body)), "abSTOx");
}

// Given max_tokens reached, expect the reason `length`.
TEST_F(RouterTest, LengthIsTold) {
  StartAll();
  SetAnswer([](const v1::GenerateRequest& request) {
    EXPECT_EQ(request.tokens_max(), 3u);
    return FakeWorker::Answer{SmallIds("abc"), v1::FINISH_REASON_LENGTH};
  });
  EXPECT_EQ(Chat(R"("max_tokens":3)").Json().at("choices").at(0).at("finish_reason"), "length");
}

// Given completions, expect text_completion objects: several prompts, echo, logprobs, a stream.
TEST_F(RouterTest, Completions) {
  StartAll();
  SetAnswerText(" ok");
  const json::value body = Post("/v1/completions", R"({"prompt":["a","b"],"echo":true})").Json();
  EXPECT_EQ(body.at("object"), "text_completion");
  EXPECT_EQ(body.at("choices").at(0).at("text"), "a ok");
  EXPECT_EQ(body.at("choices").at(1).at("text"), "b ok");
  const json::value logprobs = Post("/v1/completions", R"({"prompt":"a","logprobs":1})")
                                   .Json()
                                   .at("choices")
                                   .at(0)
                                   .at("logprobs");
  EXPECT_EQ(logprobs.at("tokens").as_array().size(), 3u);
  EXPECT_EQ(logprobs.at("text_offset").at(2), 2);
  EXPECT_EQ(logprobs.at("token_logprobs").at(0), -0.5);
  std::string text;
  for (const json::value& event :
       Events(Post("/v1/completions", R"({"prompt":"a","stream":true})").body)) {
    text += event.at("choices").at(0).at("text").as_string().c_str();
  }
  EXPECT_EQ(text, " ok");
}

// Given echo with logprobs, expect the prompt's tokens before the answer's, the first without a
// value, and the stop token at the end, whole and in a stream.
TEST_F(RouterTest, EchoWithLogprobs) {
  StartAll();
  SetAnswerText("c<turn|>");
  const json::value choice = Post("/v1/completions", R"({"prompt":"ab","echo":true,"logprobs":1})")
                                 .Json()
                                 .at("choices")
                                 .at(0);
  EXPECT_EQ(choice.at("text"), "abc");
  const json::value& logprobs = choice.at("logprobs");
  EXPECT_EQ(logprobs.at("tokens"), (json::array{"<bos>", "a", "b", "c", "<turn|>"}));
  EXPECT_EQ(logprobs.at("token_logprobs"), (json::array{nullptr, -0.25, -0.25, -0.5, -0.5}));
  EXPECT_EQ(logprobs.at("text_offset"), (json::array{0, 0, 1, 2, 3}));
  EXPECT_TRUE(logprobs.at("top_logprobs").at(0).is_null());
  EXPECT_EQ(logprobs.at("top_logprobs").at(2).at("b"), -0.25);
  json::array streamed;
  for (const json::value& event :
       Events(Post("/v1/completions", R"({"prompt":"ab","echo":true,"logprobs":1,"stream":true})")
                  .body)) {
    const json::value& piece = event.at("choices").at(0).at("logprobs");
    if (piece.is_null()) continue;
    for (const json::value& token : piece.at("tokens").as_array()) streamed.push_back(token);
  }
  EXPECT_EQ(json::value(streamed), logprobs.at("tokens"));
}

// Given echo and max_tokens = 0, expect the prompt alone with its log probabilities, as if nothing
// had been generated; without echo, 400.
TEST_F(RouterTest, EchoOfThePromptAlone) {
  StartAll();
  SetAnswerText("c<turn|>");
  constexpr char kBody[] = R"({"prompt":"ab","echo":true,"logprobs":1,"max_tokens":0)";
  const json::value body = Post("/v1/completions", absl::StrCat(kBody, "}")).Json();
  const json::value& choice = body.at("choices").at(0);
  EXPECT_EQ(choice.at("text"), "ab");
  EXPECT_EQ(choice.at("finish_reason"), "length");
  EXPECT_EQ(choice.at("logprobs").at("tokens"), (json::array{"<bos>", "a", "b"}));
  EXPECT_EQ(choice.at("logprobs").at("token_logprobs"), (json::array{nullptr, -0.25, -0.25}));
  EXPECT_EQ(body.at("usage").at("completion_tokens"), 0);
  EXPECT_EQ(body.at("usage").at("prompt_tokens"), 3);
  EXPECT_EQ(body.at("usage").at("total_tokens"), 3);

  std::string text;
  int logprobs = 0;
  for (const json::value& event :
       Events(Post("/v1/completions", absl::StrCat(kBody, R"(,"stream":true})")).body)) {
    text += event.at("choices").at(0).at("text").as_string().c_str();
    const json::value& piece = event.at("choices").at(0).at("logprobs");
    if (!piece.is_null()) logprobs += static_cast<int>(piece.at("tokens").as_array().size());
  }
  EXPECT_EQ(text, "ab");
  EXPECT_EQ(logprobs, 3);

  const Response plain = Post("/v1/completions", R"({"prompt":"ab","echo":true,"max_tokens":0})");
  EXPECT_EQ(plain.Json().at("choices").at(0).at("text"), "ab");
  EXPECT_TRUE(plain.Json().at("choices").at(0).at("logprobs").is_null());
  const Response refused = Post("/v1/completions", R"({"prompt":"ab","max_tokens":0})");
  EXPECT_EQ(refused.status, 400);
  EXPECT_EQ(refused.Json().at("error").at("param"), "max_tokens");
}

// Given prompt_logprobs, expect vLLM's form: in each choice of completions, at the top of a chat.
TEST_F(RouterTest, PromptLogprobs) {
  StartAll();
  SetAnswerText("c<turn|>");
  const json::value list = Post("/v1/completions", R"({"prompt":"ab","prompt_logprobs":1})")
                               .Json()
                               .at("choices")
                               .at(0)
                               .at("prompt_logprobs");
  ASSERT_EQ(list.as_array().size(), 3u);
  EXPECT_TRUE(list.at(0).is_null());
  const json::value entry = list.at(2).as_object().begin()->value();
  EXPECT_EQ(entry, (json::object{{"logprob", -0.25}, {"rank", 1}, {"decoded_token", "b"}}));
  const json::value chat = Chat(R"("prompt_logprobs":0)").Json();
  EXPECT_EQ(chat.at("prompt_logprobs").as_array().size(),
            static_cast<size_t>(chat.at("usage").at("prompt_tokens").as_int64()));
}

// Given continuous usage, expect it to grow from chunk to chunk.
TEST_F(RouterTest, ContinuousUsage) {
  StartAll();
  int64_t last = 0, chunks = 0;
  for (const json::value& event :
       Events(Chat(R"("stream":true,"stream_options":{"include_usage":true,
                      "continuous_usage_stats":true})")
                  .body)) {
    const int64_t tokens = event.at("usage").at("completion_tokens").as_int64();
    EXPECT_GE(tokens, last);
    last = tokens;
    ++chunks;
  }
  EXPECT_GT(chunks, 2);
  EXPECT_EQ(last, static_cast<int64_t>(SmallIds(kAnswer).size()) + 1);
}

// Given an effort, expect thinking switched by it, unless the template's own argument says
// otherwise.
TEST_F(RouterTest, ReasoningEffortSwitchesThinking) {
  StartAll(1);
  const std::pair<const char*, bool> kCases[] = {
      {R"("reasoning_effort":"none")", false},
      {R"("reasoning_effort":"minimal")", false},
      {R"("reasoning_effort":"low")", true},
      {R"("reasoning_effort":"high")", true},
      {R"("reasoning_effort":"high","chat_template_kwargs":{"enable_thinking":false})", false},
      {R"("reasoning_effort":"none","chat_template_kwargs":{"enable_thinking":true})", true},
  };
  for (const auto& [fields, thinks] : kCases) {
    ASSERT_EQ(Chat(fields).status, 200);
    EXPECT_EQ(absl::StrContains(LastPrompt(), "<|think|>"), thinks) << fields;
  }
}

// Given logprobs in a chat, expect OpenAI's form with one entry for each token.
TEST_F(RouterTest, ChatLogprobs) {
  StartAll();
  SetAnswerText("hi<turn|>");
  const json::value choice = Chat(R"("logprobs":true,"top_logprobs":1)").Json().at("choices").at(0);
  const json::array& content = choice.at("logprobs").at("content").as_array();
  ASSERT_EQ(content.size(), 2u);
  EXPECT_EQ(content[0].at("token"), "h");
  EXPECT_EQ(content[0].at("bytes").at(0), 104);
  EXPECT_EQ(content[0].at("top_logprobs").at(0).at("logprob"), -0.5);
}

// Given the small endpoints, expect their forms.
TEST_F(RouterTest, OtherEndpoints) {
  StartAll();
  EXPECT_EQ(Get("/health").status, 200);
  EXPECT_EQ(Get("/readiness").status, 200);
  EXPECT_EQ(Get("/v1/models").Json().at("data").at(0).at("id"), "small");
  EXPECT_EQ(Get("/v1/models/small").Json().at("id"), "small");
  EXPECT_EQ(Get("/v1/models/large").status, 404);
  const json::value tokens = Post("/tokenize", R"({"model":"small","prompt":"the a"})").Json();
  EXPECT_EQ(tokens.at("count"), tokens.at("tokens").as_array().size());
  EXPECT_EQ(tokens.at("max_model_len"), 4096);
  const json::value text =
      Post("/detokenize", json::serialize(json::object{{"tokens", tokens.at("tokens")}})).Json();
  EXPECT_EQ(text.at("prompt"), "<bos>the a");
  EXPECT_EQ(Post("/tokenize", ChatBody()).status, 200);
  Chat();
  const std::string metrics = Metrics();
  EXPECT_THAT(metrics, HasSubstr("facet_requests_total{endpoint=\"chat\",outcome=\"finished\"} 1"));
  EXPECT_THAT(metrics, HasSubstr("facet_requests_running 0"));
  EXPECT_THAT(metrics, HasSubstr("facet_time_to_first_token_seconds_count 1"));
}

// ---------------------------------------------------------------- bad input

// Given bad requests, expect 4xx in OpenAI's form, nothing at the workers, and a server that
// serves.
TEST_F(RouterTest, BadRequestsNeverReachAWorker) {
  StartAll();
  const struct {
    std::string body;
    int status;
    const char* param;
  } kCases[] = {
      {"{", 400, ""},
      {ChatBody(R"("temperature":NaN)"), 400, ""},
      {ChatBody(R"("temperature":-1)"), 400, "temperature"},
      {ChatBody(R"("model":"gpt")"), 404, "model"},
      {ChatBody(R"("max_tokens":5000)"), 400, "messages"},
      {ChatBody(R"("max_tokens":true)"), 400, "max_tokens"},
  };
  for (const auto& c : kCases) {
    const Response response = Post("/v1/chat/completions", c.body);
    EXPECT_EQ(response.status, c.status) << c.body;
    const json::value error = response.Json().at("error");
    EXPECT_EQ(error.at("type"), "invalid_request_error");
    if (*c.param != 0) {
      EXPECT_EQ(error.at("param"), c.param) << c.body;
    }
  }
  EXPECT_EQ(Post("/v1/nothing", "{}").status, 404);
  EXPECT_EQ(Get("/v1/chat/completions").status, 405);
  EXPECT_EQ(Get("/v1/chat/completions").headers.at("allow"), "POST");
  EXPECT_EQ(workers_[0]->started() + workers_[1]->started(), 0);
  EXPECT_EQ(Chat().status, 200);
}

// Given a body of 100 MB, announced or in chunks, expect 413 before it was sent.
TEST_F(RouterTest, LargeBodyIsRefusedUnread) {
  options_.http.body_bytes_max = 1 << 20;
  StartAll(1);
  Client announced = Connect();
  announced.Write("POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 104857600\r\n\r\n{\"a\":");
  const Response response = announced.ReadResponse();
  EXPECT_EQ(response.status, 413);
  EXPECT_EQ(response.Json().at("error").at("type"), "invalid_request_error");

  Client chunked = Connect();
  chunked.Write("POST /v1/chat/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
  const std::string piece = absl::StrCat("40000\r\n", std::string(0x40000, 'x'), "\r\n");
  for (int i = 0; i < 5; ++i) chunked.Write(piece);
  EXPECT_EQ(chunked.ReadResponse().status, 413);
  EXPECT_EQ(Chat().status, 200);
}

// Given what is not HTTP, or too large a header, expect 400 and 431.
TEST_F(RouterTest, BrokenHttpIsRefused) {
  StartAll(1);
  Client garbage = Connect();
  garbage.Write("\x16\x03\x01 hello\r\n\r\n");
  EXPECT_EQ(garbage.ReadResponse().status, 400);
  Client large = Connect();
  large.Write(absl::StrCat("GET / HTTP/1.1\r\nX: ", std::string(100'000, 'x'), "\r\n\r\n"));
  EXPECT_EQ(large.ReadResponse().status, 431);
}

// Given a client that stops within the header or the body, expect 408 after the limit, and others
// served meanwhile.
TEST_F(RouterTest, HalfRequestsTimeOut) {
  options_.http.header_timeout_ms = 50;
  options_.http.body_timeout_ms = 50;
  StartAll(1);
  Client header = Connect();
  header.Write("POST /v1/chat/completions HTTP/1.1\r\nContent-");
  Client body = Connect();
  body.Write("POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 100\r\n\r\n{\"mess");
  EXPECT_EQ(Chat().status, 200);
  EXPECT_EQ(header.ReadResponse().status, 408);
  EXPECT_EQ(body.ReadResponse().status, 408);
}

// Given a client that leaves within a request, expect the server to serve on.
TEST_F(RouterTest, ClientThatLeavesMidRequestIsForgotten) {
  StartAll(1);
  for (int i = 0; i < 20; ++i) {
    Client client = Connect();
    client.Write("POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 100\r\n\r\n{\"mess");
    client.Close();
  }
  EXPECT_EQ(Chat().status, 200);
}

// Given a request one byte at a time, and two in one packet, expect all answered, in order, on one
// connection.
TEST_F(RouterTest, BytesMayComeInAnyGrouping) {
  StartAll(1);
  Client client = Connect();
  const std::string request = Client::RequestText("POST", "/v1/chat/completions", ChatBody());
  for (const char byte : request) client.Write(absl::string_view(&byte, 1));
  EXPECT_EQ(client.ReadResponse().status, 200);
  client.Write(request + Client::RequestText("GET", "/health", ""));
  EXPECT_EQ(client.ReadResponse().Json().at("object"), "chat.completion");
  EXPECT_EQ(client.ReadResponse().Json().at("status"), "ok");
}

// Given a request id and an allowed origin, expect both back; given another origin, no permission.
TEST_F(RouterTest, RequestIdsAndOrigins) {
  options_.http.allowed_origins = {"https://a.example"};
  StartAll(1);
  const Response allowed =
      Connect().Send("GET", "/health", "", "Origin: https://a.example\r\nX-Request-Id: abc-1\r\n");
  EXPECT_EQ(allowed.headers.at("x-request-id"), "abc-1");
  EXPECT_EQ(allowed.headers.at("access-control-allow-origin"), "https://a.example");
  const Response other =
      Connect().Send("GET", "/health", "", "Origin: https://b.example\r\nX-Request-Id: a b\r\n");
  EXPECT_EQ(other.headers.count("access-control-allow-origin"), 0u);
  EXPECT_THAT(other.headers.at("x-request-id"), StartsWith("req-"));
  const Response preflight =
      Connect().Send("OPTIONS", "/v1/chat/completions", "",
                     "Origin: https://a.example\r\nAccess-Control-Request-Method: POST\r\n");
  EXPECT_EQ(preflight.status, 204);
  EXPECT_THAT(preflight.headers.at("access-control-allow-methods"), HasSubstr("POST"));
}

// Given HTTP/1.0 and Expect: 100-continue, expect what those clients understand.
TEST_F(RouterTest, OldAndCautiousClients) {
  StartAll(1);
  Client old = Connect();
  const std::string body = ChatBody(R"("stream":true)");
  old.Write(absl::StrCat("POST /v1/chat/completions HTTP/1.0\r\nContent-Length: ", body.size(),
                         "\r\n\r\n", body));
  const std::string all = old.ReadAll();
  EXPECT_THAT(all, HasSubstr("data: [DONE]\n\n"));
  EXPECT_THAT(all, Not(HasSubstr("chunked")));
  Client cautious = Connect();
  cautious.Write(
      absl::StrCat("POST /v1/chat/completions HTTP/1.1\r\nExpect: 100-continue\r\n"
                   "Content-Length: ",
                   body.size(), "\r\n\r\n"));
  EXPECT_THAT(cautious.ReadUntil("\r\n\r\n"), StartsWith("HTTP/1.1 100"));
  cautious.Write(body);
  EXPECT_EQ(cautious.ReadResponse().status, 200);
}

// ------------------------------------------------------- clients that go or stall

// Given a client that leaves in mid-stream, expect a cancel at the worker while nothing is written.
TEST_F(RouterTest, DisconnectInMidStreamCancels) {
  StartAll(1);
  workers_[0]->HoldAfter(2);
  Client client = Connect();
  client.Write(Client::RequestText("POST", "/v1/chat/completions", ChatBody(R"("stream":true)")));
  EXPECT_EQ(client.ReadHeader().status, 200);
  EXPECT_THAT(client.ReadChunk(), HasSubstr("data: "));
  client.Close();
  EXPECT_TRUE(workers_[0]->AwaitCancelled(1));
  EXPECT_TRUE(workers_[0]->AwaitRunning(0));
  AwaitMetric("facet_requests_total{endpoint=\"chat\",outcome=\"cancelled\"} 1");
}

// Given a client that leaves before the first token, and one that waits for a whole answer, expect
// the same.
TEST_F(RouterTest, DisconnectBeforeTheFirstTokenCancels) {
  StartAll(1);
  workers_[0]->HoldAfter(0);
  for (const char* fields : {R"("stream":true)", R"("stream":false)"}) {
    Client client = Connect();
    client.Write(Client::RequestText("POST", "/v1/chat/completions", ChatBody(fields)));
    EXPECT_TRUE(workers_[0]->AwaitRunning(1));
    client.Close();
    EXPECT_TRUE(workers_[0]->AwaitRunning(0));
  }
  EXPECT_TRUE(workers_[0]->AwaitCancelled(2));
}

// Given a silent prefill, expect comments while nothing comes, and then the answer.
TEST_F(RouterTest, KeepAliveCommentsWhileNothingComes) {
  options_.api.keep_alive_ms = 10;
  StartAll(1);
  workers_[0]->HoldAfter(0);
  Client client = Connect();
  client.Write(Client::RequestText("POST", "/v1/chat/completions", ChatBody(R"("stream":true)")));
  EXPECT_EQ(client.ReadHeader().status, 200);
  EXPECT_EQ(client.ReadChunk(), ": keep-alive\n\n");
  workers_[0]->Release();
  std::string rest;
  for (std::string chunk = client.ReadChunk(); !chunk.empty(); chunk = client.ReadChunk()) {
    rest += chunk;
  }
  EXPECT_EQ(Content(Events(rest)), kAnswer);
}

// Given a client that does not read, expect its request cancelled after the write limit, and others
// served.
TEST_F(RouterTest, ClientThatDoesNotReadIsCutOff) {
  options_.http.write_timeout_ms = 100;
  StartAll(1);
  // More than the kernel's buffers hold, and an answer that has no end of its own.
  SetAnswer([](const v1::GenerateRequest&) {
    std::vector<uint32_t> ids = SmallIds(std::string(50'000, 'x'));
    return FakeWorker::Answer{ids};
  });
  Client client = Connect();
  client.Write(Client::RequestText("POST", "/v1/chat/completions", ChatBody(R"("stream":true)")));
  AwaitMetric("facet_requests_running 1");
  AwaitMetric("facet_requests_running 0");
  SetAnswerText("ok");
  EXPECT_EQ(Chat().status, 200);
}

// ------------------------------------------------------------------ media

// A chat with a picture, of 266 tokens.
std::string PictureChat(absl::string_view fields = "") {
  return absl::StrCat(R"({"messages":[{"role":"user","content":[{"type":"image_url","image_url":{)",
                      R"("url":"data:image/png;base64,)",
                      absl::Base64Escape(ReadGolden("media/image5.png")), R"("}}]}])",
                      fields.empty() ? "" : ",", fields, "}");
}

// Given a picture, expect its digest in the request, and its bytes only because the worker asks for
// them, in pieces of 1 MiB at most; both answers of `n` = 2 share them.
TEST_F(RouterTest, PicturesGoToWorkersThatAsk) {
  StartAll(1);
  const Response response = Post("/v1/chat/completions", PictureChat(R"("n":2)"));
  ASSERT_EQ(response.status, 200) << response.body;
  const std::vector<v1::GenerateRequest> requests = workers_[0]->requests();
  ASSERT_EQ(requests.size(), 2u);
  constexpr size_t kBytes = 266 * 48 * 48 * 3;
  for (const v1::GenerateRequest& request : requests) {
    ASSERT_EQ(request.media_size(), 1);
    EXPECT_EQ(request.media(0).tokens(), 266u);
    EXPECT_EQ(request.media(0).grid_width(), 19u);
    EXPECT_EQ(request.media(0).digest().size(), 16u);
    EXPECT_EQ(request.media(0).data(), "");
    EXPECT_EQ(request.prompt_tokens(static_cast<int>(request.media(0).first_token())),
              SmallIds("<|image|>")[0]);
  }
  size_t bytes = 0, last = 0;
  for (const auto& chunk : workers_[0]->media_chunks()) {
    EXPECT_LE(chunk.data().size(), size_t{1} << 20);
    bytes += chunk.data().size();
    last += chunk.last() ? 1 : 0;
  }
  EXPECT_EQ(bytes, 2 * kBytes);
  EXPECT_EQ(last, 2u);
  EXPECT_THAT(Metrics(), HasSubstr(absl::StrCat("facet_media_bytes_sent_total ", 2 * kBytes)));
}

// Given a worker that dies before it gave a token, expect another to get the picture.
TEST_F(RouterTest, PicturesGoToTheNextWorker) {
  StartAll();
  HoldAll(0);
  Client client = Connect();
  client.Write(Client::RequestText("POST", "/v1/chat/completions", PictureChat()));
  AwaitBusy();
  workers_[0]->Kill();
  ASSERT_TRUE(workers_[1]->AwaitStarted(1));
  workers_[1]->Release();
  EXPECT_EQ(client.ReadResponse().status, 200);
  EXPECT_EQ(workers_[1]->media_chunks().empty(), false);
}

// ------------------------------------------------------------------------ load

// Given 32 streams at the same time, expect each whole and both workers used.
TEST_F(RouterTest, ThirtyTwoConcurrentStreams) {
  StartAll(2);
  workers_[0]->HoldAfter(1);
  workers_[1]->HoldAfter(1);
  SetAnswer([](const v1::GenerateRequest& request) {
    return FakeWorker::Answer{SmallIds(absl::StrCat("seed ", request.sampling().seed()))};
  });
  std::vector<std::string> contents(32);
  std::vector<std::thread> threads;
  for (int i = 0; i < 32; ++i) {
    threads.emplace_back([&, i] {
      contents[i] = Content(Events(Chat(absl::StrCat("\"stream\":true,\"seed\":", i)).body));
    });
  }
  while (workers_[0]->started() + workers_[1]->started() < 32) std::this_thread::yield();
  // Reports are a little behind, so an even share is not an exact half.
  EXPECT_GE(workers_[0]->started(), 8);
  EXPECT_GE(workers_[1]->started(), 8);
  workers_[0]->Release();
  workers_[1]->Release();
  for (std::thread& thread : threads) thread.join();
  for (int i = 0; i < 32; ++i) EXPECT_EQ(contents[i], absl::StrCat("seed ", i));
  EXPECT_TRUE(workers_[0]->AwaitRunning(0));
}

// Given workers that say they are full though they seem to have room, expect the request to be
// offered as often as it may be refused, and then 429 with Retry-After.
TEST_F(RouterTest, FullWorkersShed) {
  StartAll();
  SetAnswer([](const v1::GenerateRequest&) {
    return FakeWorker::Answer{
        {}, v1::FINISH_REASON_ERROR, "no room", v1::ERROR_KIND_RESOURCE_EXHAUSTED};
  });
  const Response response = Chat(R"("stream":true)");
  EXPECT_EQ(response.status, 429);
  EXPECT_EQ(response.headers.at("retry-after"), "1");
  EXPECT_EQ(workers_[0]->started() + workers_[1]->started(), 3);
  EXPECT_THAT(Metrics(), HasSubstr("facet_shed_requests_total{reason=\"workers_full\"} 1"));
}

// --------------------------------------------------------------- lost workers

// Given no worker, expect 503 with Retry-After; given one that appears, expect answers.
TEST_F(RouterTest, NoWorkerIsUnavailable) {
  std::unique_ptr<FakeWorker> placeholder = StartWorker();
  const std::string address = placeholder->address();
  placeholder = nullptr;
  StartRouter({address});
  const Response response = Chat();
  EXPECT_EQ(response.status, 503);
  EXPECT_EQ(response.headers.at("retry-after"), "1");
  EXPECT_EQ(response.Json().at("error").at("type"), "server_error");
  EXPECT_EQ(Get("/readiness").status, 503);
  EXPECT_EQ(Get("/health").status, 200);
  workers_.push_back(StartWorker("small", address));
  AwaitWorker(address, true);
  EXPECT_EQ(Chat().status, 200);
  EXPECT_EQ(Get("/readiness").status, 200);
}

// Given a worker that dies in mid-stream, expect the other to go on from the tokens that came, the
// client's stream to be whole, and new requests to be answered by the one that is left.
TEST_F(RouterTest, StreamSurvivesItsWorker) {
  StartAll(2);
  HoldAll(3);
  Client streaming = Connect();
  streaming.Write(
      Client::RequestText("POST", "/v1/chat/completions",
                          ChatBody(R"("stream":true,"stream_options":{"include_usage":true})")));
  EXPECT_EQ(streaming.ReadHeader().status, 200);
  std::string body = streaming.ReadChunk();
  AwaitBusy();
  ReleaseAllBut(0);
  ::testing::internal::CaptureStderr();
  workers_[0]->Kill();
  for (std::string chunk = streaming.ReadChunk(); !chunk.empty(); chunk = streaming.ReadChunk()) {
    body += chunk;
  }
  const std::vector<json::value> events = Events(body);
  EXPECT_EQ(Content(events), kAnswer);
  const std::vector<uint32_t> ids = SmallIds(absl::StrCat(kAnswer, "<turn|>"));
  EXPECT_EQ(events.back().at("usage").at("completion_tokens"), ids.size());
  const v1::GenerateRequest before = workers_[0]->requests()[0];
  const v1::GenerateRequest after = workers_[1]->requests()[0];
  // Of the three that the worker gave, those that came before its connection broke.
  ASSERT_GE(after.resume_from_size(), 1);
  ASSERT_LE(after.resume_from_size(), 3);
  EXPECT_TRUE(std::equal(after.resume_from().begin(), after.resume_from().end(), ids.begin()));
  EXPECT_EQ(before.sampling().seed(), after.sampling().seed());
  EXPECT_EQ(before.tokens_max(), after.tokens_max());
  EXPECT_THAT(Metrics(),
              HasSubstr("facet_failovers_total{exact=\"true\",reason=\"worker_lost\"} 1\n"));
  AwaitWorker(workers_[0]->address(), false);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(Chat().status, 200);
  EXPECT_EQ(workers_[1]->started(), 11);
  const std::vector<std::string> parts =
      absl::StrSplit(::testing::internal::GetCapturedStderr(), "worker lost");
  EXPECT_EQ(parts.size(), 2u);
}

// Given an answer with a thought, content, a stop string's beginning and a tool call, expect the
// same answer whichever token its worker dies after.
TEST_F(RouterTest, AnswerIsTheSameWhereverItsWorkerDies) {
  const std::string text =
      "<|channel>thought\nHm.<channel|>Well E<|tool_call>call:get{city:<|\"|>Rome<|\"|>}"
      "<tool_call|><|tool_response>";
  SetAnswerText(text);
  const std::string fields =
      R"("stop":["END"],"chat_template_kwargs":{"enable_thinking":true},"tools":[{"type":)"
      R"("function","function":{"name":"get","parameters":{"type":"object"}}}])";
  const auto message_of = [](Response response) {
    EXPECT_EQ(response.status, 200) << response.body;
    json::value choice = response.Json().at("choices").at(0);
    // Its id has the time in it.
    choice.at("message").at("tool_calls").at(0).as_object().erase("id");
    return json::serialize(choice);
  };
  StartAll(1);
  const std::string expected = message_of(Chat(fields));
  EXPECT_THAT(expected, HasSubstr("Rome"));
  EXPECT_THAT(expected, HasSubstr("Well E"));
  for (size_t died_after = 0; died_after < SmallIds(text).size(); ++died_after) {
    SCOPED_TRACE(died_after);
    router_ = nullptr;
    workers_.clear();
    StartAll(2);
    HoldAll(died_after);
    Client client = Connect();
    client.Write(Client::RequestText("POST", "/v1/chat/completions", ChatBody(fields)));
    AwaitBusy();
    ReleaseAllBut(0);
    workers_[0]->Kill();
    EXPECT_EQ(message_of(client.ReadResponse()), expected);
    EXPECT_EQ(workers_[1]->started(), 1);
  }
}

// Given a worker that takes a request and says no more, connected as it is, expect its answer to go
// on at another, and the worker to get none for a while.
TEST_F(RouterTest, AStuckWorkerIsGivenUp) {
  options_.stuck_ms = 200;
  StartAll(2);
  HoldAll(3);
  Client client = Connect();
  client.Write(Client::RequestText("POST", "/v1/chat/completions", ChatBody(R"("stream":true)")));
  AwaitBusy();
  ReleaseAllBut(0);
  EXPECT_EQ(Content(Events(client.ReadResponse().body)), kAnswer);
  EXPECT_EQ(workers_[1]->started(), 1);
  EXPECT_EQ(Chat().status, 200);
  EXPECT_EQ(workers_[0]->started(), 1);
}

// Given no other worker, expect a stream to wait for the one that comes back.
TEST_F(RouterTest, StreamWaitsForAWorker) {
  StartAll(1);
  workers_[0]->HoldAfter(3);
  const std::string address = workers_[0]->address();
  Client client = Connect();
  client.Write(Client::RequestText("POST", "/v1/chat/completions", ChatBody(R"("stream":true)")));
  EXPECT_EQ(client.ReadHeader().status, 200);
  std::string body = client.ReadChunk();
  workers_[0]->Kill();
  AwaitWorker(address, false);
  workers_[0] = StartWorker("small", address);
  for (std::string chunk = client.ReadChunk(); !chunk.empty(); chunk = client.ReadChunk()) {
    body += chunk;
  }
  EXPECT_EQ(Content(Events(body)), kAnswer);
}

// Given no worker for longer than the limit, expect a stream to end with an error event and a whole
// answer with 503.
TEST_F(RouterTest, WaitForAWorkerIsBounded) {
  options_.failover.worker_wait_ms = 50;
  StartAll(1);
  workers_[0]->HoldAfter(3);
  Client streaming = Connect(), waiting = Connect();
  streaming.Write(
      Client::RequestText("POST", "/v1/chat/completions", ChatBody(R"("stream":true)")));
  EXPECT_EQ(streaming.ReadHeader().status, 200);
  std::string body = streaming.ReadChunk();
  waiting.Write(Client::RequestText("POST", "/v1/chat/completions", ChatBody()));
  EXPECT_TRUE(workers_[0]->AwaitRunning(2));
  workers_[0]->Kill();
  for (std::string chunk = streaming.ReadChunk(); !chunk.empty(); chunk = streaming.ReadChunk()) {
    body += chunk;
  }
  EXPECT_THAT(body, HasSubstr("data: {\"error\":{\"message\":\"The worker of this request was "));
  EXPECT_THAT(body, Not(HasSubstr("[DONE]")));
  const Response response = waiting.ReadResponse();
  EXPECT_EQ(response.status, 503);
  EXPECT_EQ(response.headers.count("retry-after"), 1u);
}

// Given a request that loses two workers without a token, and a third in quarantine, expect it to
// fail alone, not to be given to the fourth.
TEST_F(RouterTest, RequestThatKillsWorkersIsGivenUp) {
  StartAll(4);
  HoldAll(0);
  Client client = Connect();
  client.Write(Client::RequestText("POST", "/v1/chat/completions", ChatBody()));
  for (int i = 0; i < 3; ++i) {
    AwaitBusy(i);
    workers_[i]->Kill();
  }
  EXPECT_EQ(client.ReadResponse().status, 503);
  EXPECT_EQ(workers_[3]->started(), 0);
  workers_[3]->Release();
  EXPECT_EQ(Chat().status, 200);
}

// Given requests that were beside one that kills workers, expect them to go on one at a time after
// the second death, so that only the one under which a third dies is given up.
TEST_F(RouterTest, OnlyTheOneInQuarantineIsGivenUp) {
  hold_after_ = 0;
  StartAll(1);
  const std::string address = workers_[0]->address();
  Client clients[3] = {Connect(), Connect(), Connect()};
  for (Client& client : clients) {
    client.Write(Client::RequestText("POST", "/v1/chat/completions", ChatBody()));
  }
  for (const int running : {3, 3, 1}) {
    EXPECT_TRUE(workers_[0]->AwaitRunning(running));
    EXPECT_EQ(workers_[0]->started(), running);
    workers_[0]->Kill();
    AwaitWorker(address, false);
    if (running == 1) hold_after_ = std::numeric_limits<size_t>::max();
    workers_[0] = StartWorker("small", address);
  }
  int given_up = 0;
  for (Client& client : clients) given_up += client.ReadResponse().status == 503;
  EXPECT_EQ(given_up, 1);
}

// Given a worker of another numerics class alone to go on with, expect it counted as inexact; or,
// where that is not wanted, an error.
TEST_F(RouterTest, AnotherNumericsClassIsALastResort) {
  for (const bool allowed : {true, false}) {
    SCOPED_TRACE(allowed);
    router_ = nullptr;
    workers_.clear();
    options_.failover = {/*worker_wait_ms=*/50, allowed};
    workers_.push_back(StartWorker("small", "127.0.0.1:0", "a class"));
    workers_.push_back(StartWorker("small", "127.0.0.1:0", "another class"));
    StartRouter({workers_[0]->address(), workers_[1]->address()});
    for (const auto& worker : workers_) AwaitWorker(worker->address(), true);
    HoldAll(3);
    Client client = Connect();
    client.Write(Client::RequestText("POST", "/v1/chat/completions", ChatBody(R"("stream":true)")));
    EXPECT_EQ(client.ReadHeader().status, 200);
    std::string body = client.ReadChunk();
    AwaitBusy();
    ReleaseAllBut(0);
    workers_[0]->Kill();
    for (std::string chunk = client.ReadChunk(); !chunk.empty(); chunk = client.ReadChunk()) {
      body += chunk;
    }
    const char* metric = "facet_failovers_total{exact=\"false\",reason=\"worker_lost\"} 1\n";
    if (allowed) {
      EXPECT_EQ(Content(Events(body)), kAnswer);
      EXPECT_THAT(Metrics(), HasSubstr(metric));
    } else {
      EXPECT_THAT(body, HasSubstr("data: {\"error\""));
      EXPECT_EQ(workers_[1]->started(), 0);
    }
  }
}

// Given a worker that dies before the first token, expect the other to answer.
TEST_F(RouterTest, RequestWithoutTokensIsPlacedAgain) {
  StartAll(2);
  HoldAll(0);
  Client client = Connect();
  client.Write(Client::RequestText("POST", "/v1/chat/completions", ChatBody(R"("stream":true)")));
  AwaitBusy();
  ReleaseAllBut(0);
  workers_[0]->Kill();
  EXPECT_EQ(Content(Events(client.ReadResponse().body)), kAnswer);
  EXPECT_EQ(workers_[1]->started(), 1);
  EXPECT_EQ(workers_[0]->requests()[0].sampling().seed(),
            workers_[1]->requests()[0].sampling().seed());
}

// Given a worker that drains, expect new requests to go elsewhere.
TEST_F(RouterTest, DrainingWorkerGetsNothingNew) {
  StartAll(2);
  workers_[0]->SetDraining(true);
  // The load report is on its way: ask until it has arrived.
  int before = -1;
  while (before != workers_[0]->started()) {
    before = workers_[0]->started();
    for (int i = 0; i < 20; ++i) EXPECT_EQ(Chat().status, 200);
  }
  EXPECT_GT(workers_[1]->started(), 0);
}

// Given a worker of another model, expect it refused with a metric, and never used.
TEST_F(RouterTest, WorkerOfAnotherModelIsRefused) {
  workers_.push_back(StartWorker());
  std::unique_ptr<FakeWorker> placeholder = StartWorker();
  const std::string address = placeholder->address();
  placeholder = nullptr;
  StartRouter({workers_[0]->address(), address});
  AwaitWorker(workers_[0]->address(), true);
  workers_.push_back(StartWorker("other", address));
  AwaitMetric("reason=\"model_differs\"");
  for (int i = 0; i < 5; ++i) EXPECT_EQ(Chat().status, 200);
  EXPECT_EQ(workers_[1]->started(), 0);
}

// Given a port that is taken, expect an error that says what to do.
TEST_F(RouterTest, TakenPortIsAnError) {
  StartAll(1);
  RouterOptions options = options_;
  options.http.port = router_->http_port();
  EXPECT_THAT(Router::Start(options).status(),
              facet::testing::StatusIs(absl::StatusCode::kUnavailable, HasSubstr("--port")));
  options.http.port = 0;
  options.grpc_port = router_->grpc_port();
  EXPECT_THAT(Router::Start(options).status(),
              facet::testing::StatusIs(absl::StatusCode::kUnavailable, HasSubstr("--grpc_port")));
}

// Given a running stream at Stop, expect it to be finished first.
TEST_F(RouterTest, StopLetsRunningRequestsEnd) {
  StartAll(1);
  workers_[0]->HoldAfter(1);
  Client client = Connect();
  client.Write(Client::RequestText("POST", "/v1/chat/completions", ChatBody(R"("stream":true)")));
  EXPECT_EQ(client.ReadHeader().status, 200);
  std::thread stopping([this] { router_->Stop(60'000); });
  workers_[0]->Release();
  std::string body;
  for (std::string chunk = client.ReadChunk(); !chunk.empty(); chunk = client.ReadChunk()) {
    body += chunk;
  }
  EXPECT_EQ(Content(Events(body)), kAnswer);
  stopping.join();
}

// ------------------------------------------------------------------------ gRPC

class RouterGrpcTest : public RouterTest {
 protected:
  void StartAll(int workers) {
    RouterTest::StartAll(workers);
    stub_ = v1::Inference::NewStub(grpc::CreateChannel(
        absl::StrCat("127.0.0.1:", router_->grpc_port()), grpc::InsecureChannelCredentials()));
  }

  std::unique_ptr<v1::Inference::Stub> stub_;
};

// Given the standard services, expect `serving` and our service by name.
TEST_F(RouterGrpcTest, HealthAndReflection) {
  StartAll(1);
  EXPECT_EQ(RawCall(router_->grpc_port(), "/grpc.health.v1.Health/Check", ""), "\x08\x01");
  const std::string list_services("\x3a\x00", 2);
  EXPECT_THAT(
      RawCall(router_->grpc_port(),
              "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", list_services),
      HasSubstr("facet.v1.Inference"));
}

// Given each kind of prompt, expect the answer in pieces, with reason and usage in the last.
TEST_F(RouterGrpcTest, Generates) {
  StartAll(1);
  std::vector<v1::GenerateTextRequest> requests(3);
  requests[0].set_text("the");
  requests[1].set_chat_json(ChatBody());
  requests[2].mutable_tokens()->add_ids(2);
  for (const auto& request : requests) {
    grpc::ClientContext context;
    auto reader = stub_->Generate(&context, request);
    std::string content;
    v1::GenerateTextReply reply;
    while (reader->Read(&reply)) content += reply.content();
    EXPECT_TRUE(reader->Finish().ok());
    EXPECT_EQ(content, kAnswer);
    EXPECT_EQ(reply.finish_reason(), v1::FINISH_REASON_STOP);
    EXPECT_EQ(reply.usage().completion_tokens(), SmallIds(kAnswer).size() + 1);
  }
}

// Given bad requests, expect INVALID_ARGUMENT that names the field.
TEST_F(RouterGrpcTest, ErrorsNameTheField) {
  StartAll(1);
  v1::GenerateTextRequest request;
  request.set_text("a");
  request.mutable_sampling()->set_temperature(-1);
  v1::GenerateTextReply reply;
  grpc::ClientContext context;
  auto reader = stub_->Generate(&context, request);
  EXPECT_FALSE(reader->Read(&reply));
  const grpc::Status status = reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("temperature"));
}

// Given structured_outputs of each kind, expect the worker to get its grammar, the same as over
// HTTP; given a chat that says it by its own fields, that one; given a bad one, the field's name.
TEST_F(RouterGrpcTest, StructuredOutputs) {
  StartAll(1);
  SetAnswerText("yes<turn|>");
  const auto grammar_of = [&](const v1::GenerateTextRequest& request) {
    grpc::ClientContext context;
    auto reader = stub_->Generate(&context, request);
    v1::GenerateTextReply reply;
    while (reader->Read(&reply)) continue;
    const grpc::Status status = reader->Finish();
    EXPECT_TRUE(status.ok()) << status.error_message();
    return workers_[0]->requests().back().grammar();
  };
  const auto grammar_over_http = [&](const std::string& field) {
    const Response response =
        Post("/v1/completions", absl::StrCat(R"({"prompt":"the",)", field, "}"));
    EXPECT_EQ(response.status, 200) << response.body;
    return workers_[0]->requests().back().grammar();
  };
  v1::GenerateTextRequest request;
  request.set_text("the");
  EXPECT_EQ(grammar_of(request), "");

  request.mutable_structured_outputs()->set_json(R"({"type":"boolean"})");
  const std::string boolean = grammar_of(request);
  EXPECT_NE(boolean, "");
  EXPECT_EQ(boolean, grammar_over_http(R"("guided_json":{"type":"boolean"})"));
  request.clear_structured_outputs();
  request.mutable_structured_outputs()->set_regex("a{2}");
  EXPECT_EQ(grammar_of(request), grammar_over_http(R"("guided_regex":"a{2}")"));
  request.clear_structured_outputs();
  request.mutable_structured_outputs()->add_choice("yes");
  request.mutable_structured_outputs()->add_choice("no");
  EXPECT_EQ(grammar_of(request), grammar_over_http(R"("guided_choice":["yes","no"])"));
  request.clear_structured_outputs();
  request.mutable_structured_outputs()->set_grammar("root ::= \"a\" | \"b\"");
  EXPECT_EQ(grammar_of(request), grammar_over_http(R"("guided_grammar":"root ::= \"a\" | \"b\"")"));

  v1::GenerateTextRequest chat;
  chat.set_chat_json(ChatBody(R"("guided_choice":["yes"])"));
  EXPECT_THAT(grammar_of(chat), HasSubstr("yes"));

  request.clear_structured_outputs();
  request.mutable_structured_outputs()->set_grammar("root ::= \"a\" root");
  grpc::ClientContext context;
  auto reader = stub_->Generate(&context, request);
  v1::GenerateTextReply reply;
  EXPECT_FALSE(reader->Read(&reply));
  const grpc::Status status = reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("structured_outputs.grammar"));
  EXPECT_THAT(status.error_message(), HasSubstr("no answer can ever end"));
}

// Given a client that cancels, expect the same at the worker.
TEST_F(RouterGrpcTest, CancelReachesTheWorker) {
  StartAll(1);
  workers_[0]->HoldAfter(1);
  v1::GenerateTextRequest request;
  request.set_text("a");
  grpc::ClientContext context;
  auto reader = stub_->Generate(&context, request);
  v1::GenerateTextReply reply;
  EXPECT_TRUE(reader->Read(&reply));
  context.TryCancel();
  EXPECT_TRUE(workers_[0]->AwaitCancelled(1));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

}  // namespace
}  // namespace facet
