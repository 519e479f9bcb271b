// Who may send requests, how many, and in which order they go to workers: over a whole router with
// workers that have no model.

#include <grpcpp/grpcpp.h>

#include <boost/json.hpp>
#include <cstdio>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "proto/inference.grpc.pb.h"
#include "router/admission/tenants_file.h"
#include "tests/router_fixture.h"

namespace facet {
namespace {

namespace json = boost::json;
using ::facet::testing::ChatBody;
using ::facet::testing::Client;
using ::facet::testing::FakeWorker;
using ::facet::testing::Response;
using ::facet::testing::RouterTest;
using ::facet::testing::SmallIds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class AdmissionTest : public RouterTest {
 protected:
  // Starts with a file of these tenants.
  void StartWith(const std::string& tenants, int workers = 1) {
    WriteFile(tenants);
    options_.tenants.file = file_;
    options_.tenants.look_interval = absl::Milliseconds(5);
    StartAll(workers);
  }
  void WriteFile(const std::string& tenants) {
    const std::string next = file_ + ".next";
    std::ofstream(next) << absl::StrCat(R"({"tenants":[)", tenants, "]}");
    ASSERT_EQ(std::rename(next.c_str(), file_.c_str()), 0);
  }
  // A tenant whose key is "key of NAME".
  static std::string Entry(const std::string& name, const std::string& fields = "") {
    return absl::StrCat(R"({"name":")", name, R"(","keys":[")",
                        absl::BytesToHexString(DigestOfKey("key of " + name)), "\"]",
                        fields.empty() ? "" : ",", fields, "}");
  }
  static std::string Bearer(const std::string& name) {
    return absl::StrCat("Authorization: Bearer key of ", name, "\r\n");
  }
  Response ChatAs(const std::string& name, absl::string_view fields = "") {
    return Connect().Send("POST", "/v1/chat/completions", ChatBody(fields), Bearer(name));
  }
  // Sends a chat, with a seed by which the worker's requests are told apart, and waits until the
  // router has it at a worker or in the queue.
  std::unique_ptr<Client> Send(const std::string& name, int seed, int running, int waiting) {
    auto client = std::make_unique<Client>(router_->http_port());
    client->Write(Client::RequestText("POST", "/v1/chat/completions",
                                      ChatBody(absl::StrCat("\"seed\":", seed)), Bearer(name)));
    while (QueuedAnswers() != waiting || workers_[0]->running() != running) {
      std::this_thread::yield();
    }
    return client;
  }
  int64_t QueuedAnswers() {
    const Response response = Connect().Send("GET", "/debug/queue", "", Bearer("a"));
    EXPECT_EQ(response.status, 200) << response.body;
    return response.Json().at("waiting_answers").as_int64();
  }
  // Of the requests that the worker has heard of, in order.
  std::vector<uint64_t> Seeds() {
    std::vector<uint64_t> seeds;
    for (const v1::GenerateRequest& request : workers_[0]->requests()) {
      seeds.push_back(request.sampling().seed());
    }
    return seeds;
  }
  std::unique_ptr<v1::Inference::Stub> Stub() {
    return v1::Inference::NewStub(grpc::CreateChannel(
        absl::StrCat("127.0.0.1:", router_->grpc_port()), grpc::InsecureChannelCredentials()));
  }
  // One call over gRPC; its status.
  grpc::Status Generate(grpc::ClientContext& context, uint32_t deadline_ms = 0) {
    const auto stub = Stub();
    v1::GenerateTextRequest request;
    request.set_text("the");
    request.set_deadline_ms(deadline_ms);
    const auto reader = stub->Generate(&context, request);
    v1::GenerateTextReply reply;
    while (reader->Read(&reply)) continue;
    return reader->Finish();
  }

  const std::string file_ = ::testing::TempDir() + "/tenants.json";
};

// ------------------------------------------------------------------------- keys

// Given tenants, expect a key asked for on every path but those of probes and of Prometheus, in
// either header, and errors in each API's own form.
TEST_F(AdmissionTest, AsksForAKey) {
  StartWith(Entry("a"));
  for (const char* path : {"/v1/chat/completions", "/v1/completions", "/v1/responses", "/tokenize",
                           "/detokenize", "/debug/placement"}) {
    for (const char* headers : {"", "Authorization: Bearer wrong\r\n", "x-api-key: wrong\r\n",
                                "Authorization: Basic a2V5IG9mIGE=\r\n"}) {
      // A body that is no JSON: it is not looked at.
      const Response response = Connect().Send("POST", path, "{", headers);
      EXPECT_EQ(response.status, 401) << path;
      EXPECT_EQ(response.headers.at("www-authenticate"), "Bearer");
      const json::value error = response.Json().at("error");
      EXPECT_EQ(error.at("type"), "authentication_error");
      EXPECT_THAT(std::string(error.at("code").as_string()), HasSubstr("_api_key"));
    }
    EXPECT_EQ(Connect().Send("POST", path, "{", Bearer("a")).status, 400) << path;
  }
  for (const char* path : {"/v1/models", "/debug/workers", "/debug/queue", "/tokenizer_info"}) {
    EXPECT_EQ(Get(path).status, 401) << path;
    EXPECT_EQ(Connect().Send("GET", path, "", Bearer("a")).status, 200) << path;
  }
  for (const char* path : {"/health", "/readiness", "/metrics", "/openapi.json"}) {
    EXPECT_EQ(Get(path).status, 200) << path;
  }
  const Response message = Post("/v1/messages", "{");
  EXPECT_EQ(message.status, 401);
  EXPECT_EQ(message.Json().at("type"), "error");
  EXPECT_EQ(message.Json().at("error").at("type"), "authentication_error");

  EXPECT_EQ(ChatAs("a").status, 200);
  EXPECT_EQ(Connect()
                .Send("POST", "/v1/messages",
                      R"({"model":"small","max_tokens":5,"messages":[{"role":"user",)"
                      R"("content":"Hi"}]})",
                      "x-api-key: key of a\r\n")
                .status,
            200);
  EXPECT_THAT(Metrics(), HasSubstr("{endpoint=\"chat\",outcome=\"denied\"} 4\n"));
}

// Given the same over gRPC, expect UNAUTHENTICATED, and an answer to either metadata.
TEST_F(AdmissionTest, AsksForAKeyOverGrpc) {
  StartWith(Entry("a", R"("requests_per_minute":2)"));
  grpc::ClientContext none, wrong, bearer, key, over_limit;
  wrong.AddMetadata("authorization", "Bearer wrong");
  bearer.AddMetadata("authorization", "bearer key of a");
  key.AddMetadata("x-api-key", "key of a");
  over_limit.AddMetadata("x-api-key", "key of a");
  EXPECT_EQ(Generate(none).error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(Generate(wrong).error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(Generate(bearer).error_code(), grpc::StatusCode::OK);
  EXPECT_EQ(Generate(key).error_code(), grpc::StatusCode::OK);
  const grpc::Status status = Generate(over_limit);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("requests_per_minute"));
  const auto& trailers = over_limit.GetServerTrailingMetadata();
  ASSERT_EQ(trailers.count("retry-after-s"), 1u);
  EXPECT_GT(std::stoi(std::string(trailers.find("retry-after-s")->second.data(),
                                  trailers.find("retry-after-s")->second.size())),
            20);
}

// Given a key that is replaced while the router runs, expect the new one to do and the old one not.
TEST_F(AdmissionTest, KeysChangeWhileItRuns) {
  StartWith(Entry("a"));
  EXPECT_EQ(ChatAs("a").status, 200);
  WriteFile(Entry("b"));
  while (ChatAs("b").status == 401) std::this_thread::yield();
  EXPECT_EQ(ChatAs("b").status, 200);
  EXPECT_EQ(ChatAs("a").status, 401);
}

// Given a tenant without rights to a model, expect 403 that names the field; expect each tenant's
// requests to have a salt and a priority of its own.
TEST_F(AdmissionTest, HoldsRequestsToTheirTenant) {
  StartWith(absl::StrCat(Entry("a", R"("priority_min":-2)"), ",", Entry("none", R"("models":[])"),
                         ",", Entry("shares", R"("share_cache":true)")));
  const Response refused = ChatAs("none");
  EXPECT_EQ(refused.status, 403);
  EXPECT_EQ(refused.Json().at("error").at("param"), "model");
  EXPECT_EQ(refused.Json().at("error").at("code"), "model_not_allowed");
  EXPECT_EQ(ChatAs("a", R"("priority":-9)").status, 200);
  EXPECT_EQ(ChatAs("shares", R"("priority":-9)").status, 200);
  const std::vector<v1::GenerateRequest> requests = workers_[0]->requests();
  EXPECT_EQ(requests[0].cache_salt(), "tenant a");
  EXPECT_EQ(requests[0].priority(), 2);
  EXPECT_EQ(requests[1].cache_salt(), "");
  EXPECT_EQ(requests[1].priority(), 0);
}

// ----------------------------------------------------------------------- limits

// Given limits, expect headers that tell them, and beyond them 429 with Retry-After and the limit's
// name; expect another tenant not to notice.
TEST_F(AdmissionTest, HoldsTenantsToTheirLimits) {
  StartWith(absl::StrCat(Entry("a", R"("requests_per_minute":2,"tokens_per_minute":100000)"), ",",
                         Entry("tokens", R"("tokens_per_minute":100)"), ",", Entry("free")));
  const Response first = ChatAs("a");
  EXPECT_EQ(first.status, 200);
  EXPECT_EQ(first.headers.at("x-ratelimit-limit-requests"), "2");
  EXPECT_EQ(first.headers.at("x-ratelimit-remaining-requests"), "1");
  EXPECT_THAT(first.headers.at("x-ratelimit-reset-requests"), HasSubstr("s"));
  EXPECT_EQ(first.headers.at("x-ratelimit-limit-tokens"), "100000");
  EXPECT_LT(std::stoi(first.headers.at("x-ratelimit-remaining-tokens")), 100000);
  EXPECT_EQ(ChatAs("a", R"("stream":true)").headers.at("x-ratelimit-remaining-requests"), "0");
  const Response refused = ChatAs("a");
  EXPECT_EQ(refused.status, 429);
  EXPECT_GE(std::stoi(refused.headers.at("retry-after")), 20);
  EXPECT_EQ(refused.Json().at("error").at("type"), "rate_limit_error");
  EXPECT_EQ(refused.Json().at("error").at("code"), "requests_per_minute");
  const Response message = Connect().Send("POST", "/v1/messages", "{", Bearer("a"));
  EXPECT_EQ(message.status, 429);
  EXPECT_EQ(message.Json().at("error").at("type"), "rate_limit_error");

  EXPECT_EQ(ChatAs("tokens", R"("max_tokens":5)").status, 200);
  while (ChatAs("tokens", R"("max_tokens":5)").status == 200) continue;
  const Response no_tokens = ChatAs("tokens", R"("max_tokens":5)");
  EXPECT_EQ(no_tokens.status, 429);
  EXPECT_EQ(no_tokens.Json().at("error").at("code"), "tokens_per_minute");
  EXPECT_EQ(no_tokens.headers.at("x-ratelimit-limit-tokens"), "100");

  const Response free = ChatAs("free");
  EXPECT_EQ(free.status, 200);
  EXPECT_EQ(free.headers.count("x-ratelimit-limit-requests"), 0u);
  const std::string metrics = Metrics();
  EXPECT_THAT(metrics, HasSubstr("facet_shed_requests_total{reason=\"requests_per_minute\"} 2\n"));
  EXPECT_THAT(metrics,
              HasSubstr("facet_tenant_requests_total{outcome=\"admitted\",tenant=\"a\"} 2\n"));
  EXPECT_THAT(metrics, HasSubstr("facet_tenant_requests_total{outcome=\"shed\",tenant=\"a\"} 2\n"));
  EXPECT_THAT(metrics, HasSubstr(absl::StrCat(
                           "facet_tenant_tokens_total{kind=\"generated\",tenant=\"free\"} ",
                           SmallIds(kAnswer).size() + 1, "\n")));
}

// Given a bound on concurrent requests, expect it to hold for those that wait too, and room again
// when a client leaves.
TEST_F(AdmissionTest, BoundsConcurrentRequests) {
  StartWith(Entry("a", R"("concurrent_requests":1)"));
  workers_[0]->HoldAfter(1);
  std::unique_ptr<Client> running = Send("a", 1, 1, 0);
  const Response refused = ChatAs("a");
  EXPECT_EQ(refused.status, 429);
  EXPECT_EQ(refused.headers.at("retry-after"), "1");
  EXPECT_EQ(refused.Json().at("error").at("code"), "concurrent_requests");
  running->Close();
  EXPECT_TRUE(workers_[0]->AwaitCancelled(1));
  workers_[0]->Release();
  while (ChatAs("a").status == 429) std::this_thread::yield();
}

// --------------------------------------------------------------------- the queue

// Given a worker with one row, expect it to get one request more than it runs, and the rest to wait
// at the router; expect them answered, the other tenant's before the rest of the flood.
TEST_F(AdmissionTest, AFloodWaitsAndAnotherTenantDoesNot) {
  running_requests_max_ = 1;
  StartWith(absl::StrCat(Entry("a"), ",", Entry("b")));
  HoldAll(0);
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 1; i <= 6; ++i) {
    clients.push_back(Send("a", i, std::min(i, 2), std::max(0, i - 2)));
  }
  clients.push_back(Send("b", 100, 2, 5));
  EXPECT_THAT(Metrics(), HasSubstr("facet_requests_waiting{tenant=\"a\"} 4\n"));
  workers_[0]->Release();
  for (const auto& client : clients) EXPECT_EQ(client->ReadResponse().status, 200);
  const std::vector<uint64_t> seeds = Seeds();
  ASSERT_EQ(seeds.size(), 7u);
  // Of two that have had nothing while they waited, either may be first.
  const auto place = std::find(seeds.begin(), seeds.end(), 100) - seeds.begin();
  EXPECT_GE(place, 2);
  EXPECT_LE(place, 3);
  EXPECT_THAT(Metrics(), HasSubstr("facet_requests_waiting{tenant=\"a\"} 0\n"));
  EXPECT_EQ(QueuedAnswers(), 0);
}

// Given a client that leaves while its request waits, expect no worker to hear of it.
TEST_F(AdmissionTest, WhoLeavesIsForgotten) {
  running_requests_max_ = 1;
  StartWith(Entry("a"));
  HoldAll(0);
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 1; i <= 4; ++i) {
    clients.push_back(Send("a", i, std::min(i, 2), std::max(0, i - 2)));
  }
  clients[2]->Close();
  while (QueuedAnswers() != 1) std::this_thread::yield();
  workers_[0]->Release();
  for (const int i : {0, 1, 3}) EXPECT_EQ(clients[i]->ReadResponse().status, 200);
  EXPECT_THAT(Seeds(), ElementsAre(1, 2, 4));
  EXPECT_THAT(Metrics(), HasSubstr("{endpoint=\"chat\",outcome=\"cancelled\"} 1\n"));
}

// Given a request that waits until its deadline, expect 503 with Retry-After and the reason, over
// HTTP, where the operator sets it, and over gRPC, where the client may too.
TEST_F(AdmissionTest, DeadlinesAreShed) {
  running_requests_max_ = 1;
  options_.queue_wait_ms = 100;
  StartWith(Entry("a"));
  HoldAll(0);
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 1; i <= 2; ++i) clients.push_back(Send("a", i, i, 0));
  const Response late = ChatAs("a", R"("stream":true)");
  EXPECT_EQ(late.status, 503);
  EXPECT_GE(std::stoi(late.headers.at("retry-after")), 1);
  EXPECT_EQ(late.Json().at("error").at("code"), "deadline");
  grpc::ClientContext context;
  context.AddMetadata("x-api-key", "key of a");
  const grpc::Status status = Generate(context, /*deadline_ms=*/20);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(context.GetServerTrailingMetadata().count("retry-after-s"), 1u);
  EXPECT_THAT(Metrics(), HasSubstr("facet_shed_requests_total{reason=\"deadline\"} 2\n"));
  workers_[0]->Release();
  for (const auto& client : clients) EXPECT_EQ(client->ReadResponse().status, 200);
}

// Given a full queue, expect who has most in it to be refused, and another tenant not.
TEST_F(AdmissionTest, AFullQueueShedsTheFlood) {
  running_requests_max_ = 1;
  options_.queue.answers_max = 3;
  StartWith(absl::StrCat(Entry("a"), ",", Entry("b")));
  HoldAll(0);
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 1; i <= 5; ++i) {
    clients.push_back(Send("a", i, std::min(i, 2), std::max(0, i - 2)));
  }
  const Response refused = ChatAs("a");
  EXPECT_EQ(refused.status, 503);
  EXPECT_GE(std::stoi(refused.headers.at("retry-after")), 1);
  EXPECT_EQ(refused.Json().at("error").at("code"), "queue_full");
  Client other = Connect();
  other.Write(
      Client::RequestText("POST", "/v1/chat/completions", ChatBody(R"("seed":9)"), Bearer("b")));
  EXPECT_EQ(clients[4]->ReadResponse().status, 503);
  workers_[0]->Release();
  for (int i = 0; i < 4; ++i) EXPECT_EQ(clients[i]->ReadResponse().status, 200);
  EXPECT_EQ(other.ReadResponse().status, 200);
}

// Given all workers gone, expect requests to wait, and to be answered by the one that comes back.
TEST_F(AdmissionTest, RequestsWaitForAWorkerThatComesBack) {
  StartWith(Entry("a"));
  EXPECT_EQ(ChatAs("a").status, 200);
  const std::string address = workers_[0]->address();
  workers_[0]->Kill();
  AwaitWorker(address, false);
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 1; i <= 8; ++i) clients.push_back(Send("a", i, 0, i));
  workers_[0] = StartWorker("small", address);
  for (const auto& client : clients) EXPECT_EQ(client->ReadResponse().status, 200);
  EXPECT_EQ(workers_[0]->started(), 8);
}

// Given a worker that dies with a begun answer while others wait, expect the answer to go on at the
// next one at once, not behind them.
TEST_F(AdmissionTest, ABegunAnswerDoesNotWaitAgain) {
  running_requests_max_ = 1;
  StartWith(Entry("a"), /*workers=*/2);
  HoldAll(1);
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 1; i <= 6; ++i) {
    clients.push_back(std::make_unique<Client>(router_->http_port()));
    clients.back()->Write(Client::RequestText("POST", "/v1/chat/completions",
                                              ChatBody(absl::StrCat("\"seed\":", i)), Bearer("a")));
    while (workers_[0]->started() + workers_[1]->started() + QueuedAnswers() < i) {
      std::this_thread::yield();
    }
  }
  EXPECT_EQ(QueuedAnswers(), 2);
  workers_[0]->Kill();
  // The two that it had, beyond what a new request would find room for.
  EXPECT_TRUE(workers_[1]->AwaitStarted(4));
  EXPECT_EQ(QueuedAnswers(), 2);
  workers_[1]->Release();
  for (const auto& client : clients) EXPECT_EQ(client->ReadResponse().status, 200);
  EXPECT_THAT(Metrics(), HasSubstr("reason=\"worker_lost\"} 2\n"));
}

// Given a router that stops while requests wait, expect them refused, and the stop not held up.
TEST_F(AdmissionTest, StopsWithAQueue) {
  running_requests_max_ = 1;
  StartWith(Entry("a"));
  HoldAll(0);
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 1; i <= 4; ++i) {
    clients.push_back(Send("a", i, std::min(i, 2), std::max(0, i - 2)));
  }
  router_ = nullptr;
  for (const auto& client : clients) EXPECT_EQ(client->ReadAll(), "");
}

}  // namespace
}  // namespace facet
