#include "router/picker/ext_proc_exchange.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace facet {
namespace {

namespace ext_proc = envoy::service::ext_proc::v3;
using Request = ExtProcExchange::Request;
using Response = ExtProcExchange::Response;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr char kKey[] = "x-gateway-destination-endpoint";
constexpr size_t kBodyBytesMax = 200'000;

Request Header(bool ends = false) {
  Request message;
  ext_proc::HttpHeaders* headers = message.mutable_request_headers();
  ext_proc::HeaderValue* path = headers->mutable_headers()->add_headers();
  path->set_key(":path");
  path->set_raw_value("/v1/completions?x=1");
  headers->set_end_of_stream(ends);
  return message;
}

Request HeaderIn(ext_proc::BodySendMode mode, bool ends = false) {
  Request message = Header(ends);
  message.mutable_protocol_config()->set_request_body_mode(mode);
  message.mutable_protocol_config()->set_response_body_mode(mode);
  return message;
}

Request Body(std::string bytes, bool ends) {
  Request message;
  message.mutable_request_body()->set_body(std::move(bytes));
  message.mutable_request_body()->set_end_of_stream(ends);
  return message;
}

std::string HeaderIn(const ext_proc::HeaderMutation& mutation, const std::string& key) {
  for (const ext_proc::HeaderValueOption& option : mutation.set_headers()) {
    if (option.header().key() == key) return option.header().raw_value();
  }
  return "";
}

void ExpectEndpoints(const ext_proc::CommonResponse& common, const Response& response,
                     const std::string& endpoints) {
  EXPECT_EQ(HeaderIn(common.header_mutation(), kKey), endpoints);
  EXPECT_TRUE(common.clear_route_cache());
  const auto& fields = response.dynamic_metadata().fields().at("envoy.lb").struct_value().fields();
  EXPECT_EQ(fields.at(kKey).string_value(), endpoints);
}

class ExtProcExchangeTest : public ::testing::Test {
 protected:
  // The question that this message leads to, if any.
  std::optional<EndpointQuestion> Take(Request message) {
    absl::StatusOr<std::optional<EndpointQuestion>> question =
        exchange_.Take(std::move(message), &out_);
    EXPECT_OK(question);
    return question.ok() ? *std::move(question) : std::nullopt;
  }
  // What the pieces of a body in `out_` add up to; only the last of them may end it.
  std::string Pieces(bool (Response::*has)() const,
                     const ext_proc::BodyResponse& (Response::*get)() const, bool* ends) {
    std::string all;
    *ends = false;
    for (const Response& response : out_) {
      if (!(response.*has)()) continue;
      EXPECT_FALSE(*ends);
      const auto& piece = (response.*get)().response().body_mutation().streamed_response();
      EXPECT_LE(piece.body().size(), 65'536u);
      all += piece.body();
      *ends = piece.end_of_stream();
    }
    return all;
  }

  ExtProcExchange exchange_{kBodyBytesMax};
  std::vector<Response> out_;
};

// Given a gateway in full duplex, expect nothing to pass before the endpoint is known, and then the
// header, and the whole body in pieces.
TEST_F(ExtProcExchangeTest, FullDuplexHoldsTheRequestBack) {
  const std::string body(150'000, 'x');
  EXPECT_FALSE(Take(HeaderIn(ext_proc::FULL_DUPLEX_STREAMED)).has_value());
  EXPECT_FALSE(Take(Body(body.substr(0, 70'000), false)).has_value());
  const auto question = Take(Body(body.substr(70'000), true));
  ASSERT_TRUE(question.has_value());
  EXPECT_EQ(question->path, "/v1/completions");
  EXPECT_EQ(question->body, body);
  EXPECT_FALSE(question->subset.has_value());
  EXPECT_THAT(out_, IsEmpty());
  exchange_.Answer(std::vector<std::string>{"10.0.0.1:80", "10.0.0.2:80"}, &out_);
  ASSERT_TRUE(out_.front().has_request_headers());
  ExpectEndpoints(out_.front().request_headers().response(), out_.front(),
                  "10.0.0.1:80,10.0.0.2:80");
  bool ends = false;
  EXPECT_EQ(Pieces(&Response::has_request_body, &Response::request_body, &ends), body);
  EXPECT_TRUE(ends);
  EXPECT_FALSE(exchange_.answered());
}

// Given a gateway that does not say how it sends bodies, expect full duplex, which pickers must
// know; given trailers, expect them to end the request.
TEST_F(ExtProcExchangeTest, TrailersEndARequest) {
  Take(Header());
  Take(Body("abc", false));
  Request trailers;
  trailers.mutable_request_trailers();
  ASSERT_TRUE(Take(trailers).has_value());
  exchange_.Answer(std::vector<std::string>{"a:1"}, &out_);
  bool ends = true;
  EXPECT_EQ(Pieces(&Response::has_request_body, &Response::request_body, &ends), "abc");
  EXPECT_FALSE(ends);
  EXPECT_TRUE(out_.back().has_request_trailers());
}

// Given a gateway that buffers, expect its header answered at once and the endpoint with the body.
TEST_F(ExtProcExchangeTest, BufferedBody) {
  EXPECT_FALSE(Take(HeaderIn(ext_proc::BUFFERED)).has_value());
  ASSERT_THAT(out_, SizeIs(1));
  EXPECT_TRUE(out_[0].has_request_headers());
  EXPECT_FALSE(out_[0].request_headers().has_response());
  ASSERT_TRUE(Take(Body("abc", true)).has_value());
  exchange_.Answer(std::vector<std::string>{"a:1"}, &out_);
  ASSERT_THAT(out_, SizeIs(2));
  ASSERT_TRUE(out_[1].has_request_body());
  ExpectEndpoints(out_[1].request_body().response(), out_[1], "a:1");
  EXPECT_FALSE(out_[1].request_body().response().has_body_mutation());
  Request trailers;
  trailers.mutable_request_trailers();
  EXPECT_FALSE(Take(trailers).has_value());
  EXPECT_TRUE(out_.back().has_request_trailers());
}

// Given a gateway that sends no body, or too late, expect the question at its header.
TEST_F(ExtProcExchangeTest, HeaderAlone) {
  for (const ext_proc::BodySendMode mode : {ext_proc::NONE, ext_proc::STREAMED}) {
    ExtProcExchange exchange(kBodyBytesMax);
    std::vector<Response> out;
    const auto question = exchange.Take(HeaderIn(mode), &out);
    ASSERT_TRUE(question.ok() && question->has_value());
    EXPECT_EQ((*question)->body, "");
    exchange.Answer(std::vector<std::string>{"a:1"}, &out);
    ASSERT_THAT(out, SizeIs(1));
    ExpectEndpoints(out[0].request_headers().response(), out[0], "a:1");
    EXPECT_FALSE((*exchange.Take(Body("abc", true), &out)).has_value());
    ASSERT_THAT(out, SizeIs(2));
    EXPECT_TRUE(out[1].has_request_body());
  }
}

// Given a request without a body, expect no body to go on either.
TEST_F(ExtProcExchangeTest, RequestWithoutABody) {
  ASSERT_TRUE(Take(HeaderIn(ext_proc::FULL_DUPLEX_STREAMED, /*ends=*/true)).has_value());
  exchange_.Answer(std::vector<std::string>{"a:1"}, &out_);
  EXPECT_THAT(out_, SizeIs(1));
}

// Given a subset, expect it in the question; given an empty one, expect it to be empty.
TEST_F(ExtProcExchangeTest, Subset) {
  Request message = Header(/*ends=*/true);
  auto& list =
      *(*(*message.mutable_metadata_context()->mutable_filter_metadata())["envoy.lb.subset_hint"]
             .mutable_fields())["x-gateway-destination-endpoint-subset"]
           .mutable_list_value();
  Request empty = message;
  list.add_values()->set_string_value("a:1");
  list.add_values()->set_string_value("b:1");
  EXPECT_THAT(*Take(message)->subset, ElementsAre("a:1", "b:1"));
  (*(*empty.mutable_metadata_context()->mutable_filter_metadata())["envoy.lb.subset_hint"]
        .mutable_fields())["x-gateway-destination-endpoint-subset"]
      .mutable_list_value();
  ExtProcExchange other(kBodyBytesMax);
  const auto question = other.Take(empty, &out_);
  ASSERT_TRUE((*question)->subset.has_value());
  EXPECT_THAT(*(*question)->subset, IsEmpty());
}

// Given no endpoint, expect an answer to the client: 503 or 429 with the reason and Retry-After,
// and nothing after it.
TEST_F(ExtProcExchangeTest, NoEndpoint) {
  for (const auto& [status, code] : std::vector<std::pair<absl::Status, int>>{
           {absl::UnavailableError("nobody is there"), 503},
           {absl::ResourceExhaustedError("nobody is there"), 429}}) {
    ExtProcExchange exchange(kBodyBytesMax);
    std::vector<Response> out;
    ASSERT_OK(exchange.Take(Header(/*ends=*/true), &out));
    exchange.Answer(status, &out);
    ASSERT_THAT(out, SizeIs(1));
    const ext_proc::ImmediateResponse& answer = out[0].immediate_response();
    EXPECT_EQ(answer.status().code(), code);
    EXPECT_EQ(HeaderIn(answer.headers(), "retry-after"), "1");
    EXPECT_THAT(answer.body(), HasSubstr("nobody is there"));
    EXPECT_TRUE(exchange.answered());
    ASSERT_OK(exchange.Take(Body("abc", true), &out));
    EXPECT_THAT(out, SizeIs(1));
  }
}

// Given a body beyond the bound, expect 413 as soon as it is known.
TEST_F(ExtProcExchangeTest, LargeBody) {
  Take(Header());
  EXPECT_FALSE(Take(Body(std::string(kBodyBytesMax, 'x'), false)).has_value());
  EXPECT_FALSE(Take(Body("x", false)).has_value());
  ASSERT_THAT(out_, SizeIs(1));
  EXPECT_EQ(out_[0].immediate_response().status().code(), 413);
}

// Given the answer's parts, expect them to pass: as they are, or in full duplex as they came.
TEST_F(ExtProcExchangeTest, TheAnswerPasses) {
  for (const bool duplex : {false, true}) {
    ExtProcExchange exchange(kBodyBytesMax);
    out_.clear();
    ASSERT_OK(exchange.Take(
        HeaderIn(duplex ? ext_proc::FULL_DUPLEX_STREAMED : ext_proc::NONE, true), &out_));
    exchange.Answer(std::vector<std::string>{"a:1"}, &out_);
    out_.clear();
    Request header, body, trailers;
    header.mutable_response_headers();
    body.mutable_response_body()->set_body(std::string(100'000, 'y'));
    body.mutable_response_body()->set_end_of_stream(true);
    trailers.mutable_response_trailers();
    ASSERT_OK(exchange.Take(header, &out_));
    EXPECT_TRUE(exchange.answered());
    ASSERT_OK(exchange.Take(body, &out_));
    ASSERT_OK(exchange.Take(trailers, &out_));
    EXPECT_TRUE(out_.front().has_response_headers());
    EXPECT_TRUE(out_.back().has_response_trailers());
    bool ends = false;
    const std::string echoed =
        Pieces(&Response::has_response_body, &Response::response_body, &ends);
    EXPECT_EQ(echoed, duplex ? std::string(100'000, 'y') : "");
    EXPECT_EQ(ends, duplex);
  }
}

// Given messages in a wrong order or of no kind, expect INVALID_ARGUMENT.
TEST_F(ExtProcExchangeTest, WrongOrder) {
  EXPECT_TRUE(absl::IsInvalidArgument(exchange_.Take(Body("abc", true), &out_).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(exchange_.Take(Request(), &out_).status()));
  Take(Header());
  EXPECT_TRUE(absl::IsInvalidArgument(exchange_.Take(Header(), &out_).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(exchange_.Take(Request(), &out_).status()));
  Take(Body("abc", true));
  EXPECT_TRUE(absl::IsInvalidArgument(exchange_.Take(Body("abc", true), &out_).status()));
}

// Given a gateway that only looks on, expect no answers.
TEST_F(ExtProcExchangeTest, OnlookersAreNotAnswered) {
  Request message = Header(/*ends=*/true);
  message.set_observability_mode(true);
  Take(message);
  exchange_.Answer(std::vector<std::string>{"a:1"}, &out_);
  EXPECT_THAT(out_, IsEmpty());
}

}  // namespace
}  // namespace facet
