// Facet's placement for gateways that send requests themselves: a client that speaks as Envoy does.
#include <grpcpp/grpcpp.h>

#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/ext_proc.grpc.pb.h"
#include "proto/page_event.h"
#include "proto/request_keys.h"
#include "tests/raw_call.h"
#include "tests/router_fixture.h"

namespace facet::testing {
namespace {

namespace ext_proc = envoy::service::ext_proc::v3;
using Request = ext_proc::ProcessingRequest;
using Response = ext_proc::ProcessingResponse;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using ::testing::StartsWith;

constexpr char kChatPath[] = "/v1/chat/completions";
constexpr char kService[] = "envoy.service.ext_proc.v3.ExternalProcessor";

// A chat of several pages.
std::string LongChat() {
  return absl::StrCat(R"({"messages":[{"role":"user","content":")", std::string(300, 'a'), "\"}]}");
}

// One HTTP exchange, as its gateway has it.
class Exchange {
 public:
  explicit Exchange(int port)
      : stub_(ext_proc::ExternalProcessor::NewStub(grpc::CreateChannel(
            absl::StrCat("127.0.0.1:", port), grpc::InsecureChannelCredentials()))),
        stream_(stub_->Process(&context_)) {}

  void Write(const Request& message) { EXPECT_TRUE(stream_->Write(message)); }
  Response Read() {
    Response response;
    EXPECT_TRUE(stream_->Read(&response));
    return response;
  }
  void Cancel() { context_.TryCancel(); }
  grpc::Status Finish() {
    stream_->WritesDone();
    Response response;
    while (stream_->Read(&response)) {
    }
    return stream_->Finish();
  }

  // What is said first about a request in full duplex.
  Response Send(const std::string& path, const std::string& body,
                const std::vector<std::string>& subset = {}) {
    Request message;
    message.mutable_protocol_config()->set_request_body_mode(ext_proc::FULL_DUPLEX_STREAMED);
    ext_proc::HttpHeaders* headers = message.mutable_request_headers();
    ext_proc::HeaderValue* value = headers->mutable_headers()->add_headers();
    value->set_key(":path");
    value->set_raw_value(path);
    headers->set_end_of_stream(body.empty());
    auto& filters = *message.mutable_metadata_context()->mutable_filter_metadata();
    for (const std::string& endpoint : subset) {
      (*filters["envoy.lb.subset_hint"].mutable_fields())["x-gateway-destination-endpoint-subset"]
          .mutable_list_value()
          ->add_values()
          ->set_string_value(endpoint);
    }
    Write(message);
    if (!body.empty()) {
      Request piece;
      piece.mutable_request_body()->set_body(body);
      piece.mutable_request_body()->set_end_of_stream(true);
      Write(piece);
    }
    return Read();
  }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<ext_proc::ExternalProcessor::Stub> stub_;
  std::unique_ptr<grpc::ClientReaderWriter<Request, Response>> stream_;
};

std::string EndpointIn(const Response& response) {
  const auto& mutation = response.request_headers().response().header_mutation();
  return mutation.set_headers_size() == 1 ? mutation.set_headers(0).header().raw_value() : "";
}

class EndpointPickerTest : public RouterTest {
 protected:
  // Three workers on addresses of their own, 127.0.0.2 to 127.0.0.4.
  void StartPicker() {
    options_.picker = {.port = 0, .endpoint_port = 8080};
    std::vector<std::string> addresses;
    for (int i = 2; i <= 4; ++i) {
      const std::string host = absl::StrCat("127.0.0.", i);
      workers_.push_back(StartWorker("small", absl::StrCat(host, ":0")));
      addresses.push_back(absl::StrCat(host, ":", workers_.back()->port()));
    }
    StartRouter(addresses);
    for (const std::string& address : addresses) AwaitWorker(address, true);
  }
  Response Ask(const std::string& path, const std::string& body,
               const std::vector<std::string>& subset = {}) {
    Exchange exchange(router_->ext_proc_port());
    const Response response = exchange.Send(path, body, subset);
    EXPECT_TRUE(exchange.Finish().ok());
    return response;
  }
  // Tells that this worker has the pages of LongChat.
  void GivePages(int worker) {
    ASSERT_EQ(Post(kChatPath, LongChat()).status, 200);
    std::vector<PageEvent> events;
    for (const auto& other : workers_) {
      for (const v1::GenerateRequest& request : other->requests()) {
        for (const PageKey& key : RequestPageKeys(request, /*page_tokens=*/64)) {
          for (const bool sliding : {false, true}) {
            events.push_back({.key = key, .sliding = sliding, .stored = true});
          }
        }
      }
    }
    ASSERT_FALSE(events.empty());
    workers_[worker]->TellPages(events);
    while (Get("/debug/workers").Json().at("cached_pages") == 0) std::this_thread::yield();
  }
};

// Given pages of a prompt at one worker, expect the endpoint beside it first, the body behind that,
// and the answer to pass.
TEST_F(EndpointPickerTest, GoesWhereThePrefixIs) {
  StartPicker();
  GivePages(1);
  Exchange exchange(router_->ext_proc_port());
  EXPECT_THAT(EndpointIn(exchange.Send(kChatPath, LongChat())), StartsWith("127.0.0.3:8080,"));
  EXPECT_EQ(exchange.Read().request_body().response().body_mutation().streamed_response().body(),
            LongChat());
  Request answer;
  answer.mutable_response_headers();
  exchange.Write(answer);
  EXPECT_TRUE(exchange.Read().has_response_headers());
  EXPECT_TRUE(exchange.Finish().ok());
  // The same prompt in Anthropic's form.
  const std::string messages =
      absl::StrCat(LongChat().substr(0, LongChat().size() - 1), ",\"max_tokens\":9}");
  EXPECT_THAT(EndpointIn(Ask("/v1/messages", messages)), StartsWith("127.0.0.3:8080,"));
}

// Given many equal new prompts at once, expect all of them at one worker: the first one's pages are
// expected there until its answer begins.
TEST_F(EndpointPickerTest, EqualPromptsStayTogether) {
  StartPicker();
  std::vector<std::unique_ptr<Exchange>> exchanges;
  std::set<std::string> endpoints;
  for (int i = 0; i < 4; ++i) {
    exchanges.push_back(std::make_unique<Exchange>(router_->ext_proc_port()));
    const std::string list = EndpointIn(exchanges.back()->Send(kChatPath, LongChat()));
    endpoints.insert(list.substr(0, list.find(',')));
  }
  EXPECT_THAT(endpoints, SizeIs(1));
  for (const auto& exchange : exchanges) EXPECT_TRUE(exchange->Finish().ok());
}

// Given what holds no prompt that can be read, expect an endpoint all the same: it says what is
// wrong, or knows the path.
TEST_F(EndpointPickerTest, AnyRequestGetsAnEndpoint) {
  StartPicker();
  for (const auto& [path, body] : std::vector<std::pair<std::string, std::string>>{
           {"/v1/models", ""},
           {kChatPath, "{"},
           {kChatPath, R"({"model":"other","messages":[{"role":"user","content":"x"}]})"},
           {"/v1/audio/transcriptions", "--x"}}) {
    EXPECT_THAT(EndpointIn(Ask(path, body)), StartsWith("127.0.0.")) << path << body;
  }
}

// Given a subset, expect an endpoint of it, or 503.
TEST_F(EndpointPickerTest, Subset) {
  StartPicker();
  GivePages(1);
  EXPECT_EQ(EndpointIn(Ask(kChatPath, LongChat(), {"127.0.0.4:8080"})), "127.0.0.4:8080");
  const Response refused = Ask(kChatPath, LongChat(), {"127.0.0.9:8080"});
  EXPECT_EQ(refused.immediate_response().status().code(), 503);
}

// Given no worker that takes requests, expect 503 with Retry-After and health checks that say so.
TEST_F(EndpointPickerTest, NobodyIsReady) {
  StartPicker();
  const auto await_health = [&](const std::string& service, char status) {
    const std::string request = absl::StrCat("\x0a", std::string(1, service.size()), service);
    const std::string wanted = {'\x08', status};
    while (RawCall(router_->ext_proc_port(), "/grpc.health.v1.Health/Check", request) != wanted) {
      std::this_thread::yield();
    }
  };
  for (const char* service : {"readiness", "liveness", kService}) await_health(service, 1);
  for (const auto& worker : workers_) worker->SetDraining(true);
  for (const char* service : {"readiness", kService}) await_health(service, 2);
  await_health("liveness", 1);
  const Response refused = Ask(kChatPath, LongChat());
  EXPECT_EQ(refused.immediate_response().status().code(), 503);
  const auto& headers = refused.immediate_response().headers().set_headers();
  EXPECT_TRUE(absl::c_any_of(headers, [](const ext_proc::HeaderValueOption& option) {
    return option.header().key() == "retry-after";
  }));
}

// Given a gateway that breaks the protocol, expect INVALID_ARGUMENT; given one that goes away, no
// harm.
TEST_F(EndpointPickerTest, BadGateways) {
  StartPicker();
  Exchange wrong(router_->ext_proc_port());
  Request body;
  body.mutable_request_body()->set_body("x");
  wrong.Write(body);
  EXPECT_EQ(wrong.Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  {
    Exchange gone(router_->ext_proc_port());
    gone.Send(kChatPath, LongChat());
    gone.Cancel();
  }
  EXPECT_NE(EndpointIn(Ask(kChatPath, LongChat())), "");
}

// Given a port that is taken, expect an error that names the flag.
TEST_F(EndpointPickerTest, PortInUse) {
  StartPicker();
  RouterOptions options = options_;
  options.http.port = 0;
  options.picker.port = router_->ext_proc_port();
  const auto second = Router::Start(options);
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(second.status().message(), HasSubstr("--ext_proc_port"));
}

}  // namespace
}  // namespace facet::testing
