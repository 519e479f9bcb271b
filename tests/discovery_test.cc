// How a router comes to know its workers, and what becomes of requests when workers join and leave:
// a whole router with workers that have no model, under names that a test gives addresses to.

#include <grpcpp/grpcpp.h>

#include <boost/json.hpp>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "proto/protocol_version.h"
#include "proto/registry.grpc.pb.h"
#include "router/router.h"
#include "tests/fake_worker/fake_worker.h"
#include "tests/fake_worker/small_model.h"
#include "tests/router_fixture.h"
#include "tests/steady_clients.h"
#include "worker/registrar.h"

namespace facet {
namespace {

namespace json = boost::json;
using ::facet::testing::ChatBody;
using ::facet::testing::Client;
using ::facet::testing::Content;
using ::facet::testing::Events;
using ::facet::testing::FakeWorker;
using ::facet::testing::RouterTest;
using ::facet::testing::SmallDescription;
using ::facet::testing::SmallIds;
using ::facet::testing::StatusIs;
using ::facet::testing::SteadyClients;
using ::testing::HasSubstr;

// A name server with one name. Threads that look it up may outlive the test that shares it.
class FakeNames {
 public:
  void Set(absl::StatusOr<std::vector<std::string>> hosts) {
    absl::MutexLock lock(&mutex_);
    hosts_ = std::move(hosts);
  }
  absl::StatusOr<Addresses> LookUp() {
    absl::MutexLock lock(&mutex_);
    ++lookups_;
    if (!hosts_.ok()) return hosts_.status();
    Addresses addresses;
    for (const std::string& host : *hosts_) {
      addresses.push_back(boost::asio::ip::make_address(host));
    }
    return addresses;
  }
  // Until the name was asked for `count` times from now on.
  void AwaitLookups(int count) {
    absl::MutexLock lock(&mutex_);
    const int before = lookups_;
    const auto asked = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
      return lookups_ >= before + count;
    };
    mutex_.Await(absl::Condition(&asked));
  }

 private:
  absl::Mutex mutex_;
  absl::StatusOr<std::vector<std::string>> hosts_ ABSL_GUARDED_BY(mutex_) =
      std::vector<std::string>();
  int lookups_ ABSL_GUARDED_BY(mutex_) = 0;
};

class DiscoveryTest : public RouterTest {
 protected:
  DiscoveryTest() {
    options_.resolve_ms = 5;
    options_.lookup = [names = names_](const std::string&) { return names->LookUp(); };
  }

  // Starts workers at 127.0.0.1, 127.0.0.2, ..., all on one port, as pods of a headless service.
  void StartWorkers(int count) {
    workers_.push_back(StartWorker());
    for (int i = 1; i < count; ++i) workers_.push_back(StartWorker("small", Address(i)));
  }
  static std::string Host(int worker) { return absl::StrCat("127.0.0.", worker + 1); }
  std::string Address(int worker) const {
    return absl::StrCat(Host(worker), ":", workers_[0]->port());
  }
  std::string Name() const { return absl::StrCat("dns:///workers:", workers_[0]->port()); }
  void SetNames(const std::vector<int>& workers) {
    std::vector<std::string> hosts;
    for (const int worker : workers) hosts.push_back(Host(worker));
    names_->Set(hosts);
  }
  void AwaitUp(int worker) { AwaitWorker(Address(worker), true); }
  // Until the router has forgotten it.
  void AwaitGone(const std::string& address) {
    while (absl::StrContains(Metrics(), absl::StrCat("worker=\"", address, "\""))) {
      std::this_thread::yield();
    }
  }

  // Two workers, the first of them under the name, and a stream there that is held after its first
  // tokens.
  std::unique_ptr<Client> HoldStreamAtFirst() {
    StartWorkers(2);
    SetNames({0});
    StartRouter({Name()});
    AwaitUp(0);
    workers_[0]->HoldAfter(3);
    auto client = std::make_unique<Client>(router_->http_port());
    client->Write(
        Client::RequestText("POST", "/v1/chat/completions", ChatBody(R"("stream":true)")));
    EXPECT_TRUE(workers_[0]->AwaitRunning(1));
    return client;
  }
  // The name has this one worker now, and the router heard of it.
  void LeaveFor(int worker) {
    SetNames({worker});
    AwaitUp(worker);
    while (KnownFrom().size() > 1) std::this_thread::yield();
  }

  std::map<std::string, std::set<std::string>> KnownFrom() {
    std::map<std::string, std::set<std::string>> known;
    const json::value reply = Get("/debug/workers").Json();
    for (const json::value& worker : reply.at("workers").as_array()) {
      for (const json::value& origin : worker.at("known_from").as_array()) {
        known[worker.at("worker").as_string().c_str()].insert(origin.as_string().c_str());
      }
    }
    return known;
  }

  std::string RouterAddress() const { return absl::StrCat("127.0.0.1:", router_->grpc_port()); }
  std::unique_ptr<Registrar> Register(const std::string& address) {
    RegistrarOptions options;
    options.routers = {ParseTarget(RouterAddress()).value()};
    options.address = address;
    options.backoff_ms_min = 1;
    options.backoff_ms_max = 20;
    return Registrar::Start(std::move(options));
  }

  const std::shared_ptr<FakeNames> names_ = std::make_shared<FakeNames>();
};

// ---------------------------------------------------------------------- names

// Given a name with two addresses, and a plain one, expect all three to be used, and the debug page
// to say where each is known from; given other addresses, expect those.
TEST_F(DiscoveryTest, FollowsAName) {
  StartWorkers(4);
  SetNames({0, 1});
  StartRouter({Name(), Address(3)});
  for (const int worker : {0, 1, 3}) AwaitUp(worker);
  using Known = std::map<std::string, std::set<std::string>>;
  EXPECT_EQ(KnownFrom(),
            (Known{{Address(0), {"dns"}}, {Address(1), {"dns"}}, {Address(3), {"list"}}}));
  SetNames({1, 2, 3});
  AwaitUp(2);
  AwaitGone(Address(0));
  EXPECT_EQ(KnownFrom(),
            (Known{{Address(1), {"dns"}}, {Address(2), {"dns"}}, {Address(3), {"list", "dns"}}}));
  EXPECT_THAT(Metrics(), HasSubstr("facet_workers{origin=\"dns\"} 2\n"));
  const int before = workers_[0]->started();
  for (int i = 0; i < 20; ++i) EXPECT_EQ(Chat().status, 200);
  EXPECT_EQ(workers_[0]->started(), before);
}

// Given a worker that leaves while it answers, expect its answer to go on there to its end, nothing
// new to go there, and its connection to end then.
TEST_F(DiscoveryTest, WhoLeavesEndsItsAnswers) {
  const std::unique_ptr<Client> client = HoldStreamAtFirst();
  LeaveFor(1);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(Chat().status, 200);
  EXPECT_EQ(workers_[0]->started(), 1);
  EXPECT_EQ(workers_[0]->running(), 1);
  EXPECT_THAT(Metrics(), HasSubstr(absl::StrCat("worker=\"", Address(0), "\"")));
  workers_[0]->Release();
  EXPECT_EQ(Content(Events(client->ReadResponse().body)), kAnswer);
  AwaitGone(Address(0));
  EXPECT_EQ(workers_[0]->cancelled(), 0);
  EXPECT_EQ(workers_[1]->started(), 5);
}

// Given a worker that leaves and dies with an answer, expect the answer to go on elsewhere.
TEST_F(DiscoveryTest, WhoLeavesMayDie) {
  const std::unique_ptr<Client> client = HoldStreamAtFirst();
  LeaveFor(1);
  workers_[0]->Kill();
  EXPECT_EQ(Content(Events(client->ReadResponse().body)), kAnswer);
  AwaitGone(Address(0));
}

// Given a name whose addresses change all the time, by a seed, while clients ask, expect every
// answer whole, at one worker at least, and each worker to have had some.
TEST_F(DiscoveryTest, NoRequestFailsWhileWorkersComeAndGo) {
  constexpr int kWorkers = 4, kClients = 4, kChanges = 60;
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::mt19937 random(seed);
  StartWorkers(kWorkers);
  SetNames({0, 1, 2, 3});
  StartRouter({Name()});
  for (int worker = 0; worker < kWorkers; ++worker) AwaitUp(worker);
  {
    SteadyClients clients(router_->http_port(), kClients, kAnswer);
    for (int change = 0; change < kChanges; ++change) {
      std::vector<int> there;
      while (there.empty()) {
        for (int worker = 0; worker < kWorkers; ++worker) {
          if (random() % 2 == 0) there.push_back(worker);
        }
      }
      SetNames(there);
      names_->AwaitLookups(2);
      clients.AwaitMore(2);
    }
  }
  for (const auto& worker : workers_) {
    EXPECT_GT(worker->started(), 0);
    EXPECT_EQ(worker->cancelled(), 0);
  }
}

// Given a name server that fails, or has no answer, expect the workers to stay.
TEST_F(DiscoveryTest, TroubleWithNamesKeepsWorkers) {
  StartWorkers(2);
  SetNames({0, 1});
  StartRouter({Name()});
  for (const int worker : {0, 1}) AwaitUp(worker);
  names_->Set(absl::UnavailableError("the name server is away"));
  names_->AwaitLookups(5);
  EXPECT_EQ(KnownFrom().size(), 2u);
  SetNames({});
  names_->AwaitLookups(5);
  EXPECT_EQ(KnownFrom().size(), 2u);
  EXPECT_EQ(Chat().status, 200);
  SetNames({1});
  AwaitGone(Address(0));
  EXPECT_EQ(Chat().status, 200);
}

// Given long intervals between look-ups and a worker that dies, expect names to be asked for at
// once.
TEST_F(DiscoveryTest, LossOfAWorkerAsksForNames) {
  options_.resolve_ms = 3'600'000;
  StartWorkers(2);
  SetNames({0});
  StartRouter({Name()});
  AwaitUp(0);
  SetNames({1});
  workers_[0]->Kill();
  AwaitUp(1);
  AwaitGone(Address(0));
  EXPECT_EQ(Chat().status, 200);
}

// Given the system's own names, expect the worker behind "localhost" to be used.
TEST_F(DiscoveryTest, Localhost) {
  options_.lookup = BlockingSystemLookup;
  StartWorkers(1);
  StartRouter({absl::StrCat("dns:///localhost:", workers_[0]->port())});
  AwaitUp(0);
  EXPECT_EQ(Chat().status, 200);
}

// Given more addresses than workers may be, expect some to be left out, always the same.
TEST_F(DiscoveryTest, WorkersAreBounded) {
  options_.workers_max = 2;
  StartWorkers(3);
  SetNames({2, 1, 0});
  StartRouter({Name()});
  for (const int worker : {0, 1}) AwaitUp(worker);
  EXPECT_EQ(KnownFrom().count(Address(2)), 0u);
}

// ------------------------------------------------------------------- registering

// Given workers that register at a router that knows none, expect them to be used; when the call of
// one ends, it stays for as long as it is connected.
TEST_F(DiscoveryTest, WorkersRegister) {
  options_.accept_workers = true;
  StartRouter({});
  EXPECT_EQ(Get("/readiness").status, 503);
  StartWorkers(2);
  auto first = Register(Address(0)), second = Register(Address(1));
  for (const int worker : {0, 1}) AwaitUp(worker);
  EXPECT_EQ(KnownFrom().at(Address(1)), std::set<std::string>{"registered"});
  EXPECT_EQ(Chat().status, 200);
  EXPECT_THAT(Metrics(), HasSubstr("facet_workers{origin=\"registered\"} 2\n"));
  second = nullptr;
  for (int i = 0; i < 10; ++i) EXPECT_EQ(Chat().status, 200);
  EXPECT_EQ(KnownFrom().count(Address(1)), 1u);
  workers_[1]->Kill();
  AwaitGone(Address(1));
  EXPECT_EQ(KnownFrom().size(), 1u);
  EXPECT_EQ(Chat().status, 200);
}

// Given a registered worker that dies with its call, expect the router to forget it, and to know it
// again when it comes back.
TEST_F(DiscoveryTest, RegisteredWorkerDiesAndComesBack) {
  options_.accept_workers = true;
  StartRouter({});
  StartWorkers(1);
  const std::string address = Address(0);
  for (int round = 0; round < 3; ++round) {
    auto registrar = Register(address);
    AwaitWorker(address, true);
    EXPECT_EQ(Chat().status, 200);
    workers_[0]->Kill();
    registrar = nullptr;
    AwaitGone(address);
    EXPECT_TRUE(KnownFrom().empty());
    workers_[0] = StartWorker("small", address);
  }
}

// Given a router that restarts, expect workers to register again by themselves.
TEST_F(DiscoveryTest, RouterRestarts) {
  options_.accept_workers = true;
  StartRouter({});
  StartWorkers(2);
  const auto first = Register(Address(0)), second = Register(Address(1));
  for (int round = 0; round < 3; ++round) {
    for (const int worker : {0, 1}) AwaitUp(worker);
    EXPECT_EQ(Chat().status, 200);
    options_.grpc_port = router_->grpc_port();
    router_ = nullptr;
    // The port is free as soon as the kernel has seen the last of the old connections.
    absl::StatusOr<std::unique_ptr<Router>> router = Router::Start(options_);
    while (!router.ok()) router = Router::Start(options_);
    router_ = *std::move(router);
  }
  for (const int worker : {0, 1}) AwaitUp(worker);
  EXPECT_EQ(Chat().status, 200);
}

class RegisterCallTest : public DiscoveryTest {
 protected:
  grpc::Status Ask(const std::string& address, uint32_t version = kProtocolVersion) {
    const auto stub = v1::Registry::NewStub(
        grpc::CreateChannel(RouterAddress(), grpc::InsecureChannelCredentials()));
    grpc::ClientContext context;
    v1::RegisterRequest request;
    request.set_address(address);
    request.set_protocol_version(version);
    const auto reader = stub->Register(&context, request);
    v1::RegisterReply reply;
    EXPECT_FALSE(reader->Read(&reply)) << "it was taken";
    return reader->Finish();
  }
};

// Given calls that are wrong, expect an error that names the field, and no worker.
TEST_F(RegisterCallTest, WrongCallsAreRefused) {
  options_.accept_workers = true;
  options_.workers_max = 1;
  StartWorkers(1);
  StartRouter({Address(0)});
  struct Case {
    const char* address;
    uint32_t version;
    grpc::StatusCode code;
    const char* message;
  };
  for (const Case& c : {
           Case{"worker", 1, grpc::StatusCode::INVALID_ARGUMENT, "address: \"worker\""},
           Case{"", 1, grpc::StatusCode::INVALID_ARGUMENT, "address: \"\""},
           Case{"0.0.0.0:9381", 1, grpc::StatusCode::INVALID_ARGUMENT, "which host"},
           Case{"dns:///workers:9381", 1, grpc::StatusCode::INVALID_ARGUMENT, "several addresses"},
           Case{"worker:9381", 2, grpc::StatusCode::FAILED_PRECONDITION, "protocol_version is 2"},
           Case{"worker:9381", 1, grpc::StatusCode::RESOURCE_EXHAUSTED, "--workers_max"},
       }) {
    const grpc::Status status = Ask(c.address, c.version);
    EXPECT_EQ(status.error_code(), c.code) << c.address;
    EXPECT_THAT(status.error_message(), HasSubstr(c.message));
  }
  EXPECT_EQ(KnownFrom().size(), 1u);
}

// Given a router that was not told to take workers, expect it to say so.
TEST_F(RegisterCallTest, IsOffByDefault) {
  StartAll(1);
  const grpc::Status status = Ask("worker:9381");
  EXPECT_EQ(status.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_THAT(status.error_message(), HasSubstr("--accept_workers"));
}

// ---------------------------------------------------------------------- handshake

// Given workers that differ in what they say of themselves, expect each to be refused with its own
// reason in the metric and the log, once, and never to be used; given that it becomes as the
// others, expect it to be used.
TEST_F(DiscoveryTest, WorkersThatDifferAreRefused) {
  options_.worker.refused_backoff_ms = 1;
  StartWorkers(1);
  SetNames({0});
  StartRouter({Name()});
  AwaitUp(0);
  ::testing::internal::CaptureStderr();
  SetNames({0, 1});
  struct Case {
    const char* reason;
    std::function<void(v1::DescribeReply&)> change;
  };
  for (const auto& [reason, change] : std::vector<Case>{
           {"protocol_differs", [](v1::DescribeReply& d) { d.set_protocol_version(99); }},
           {"page_key_differs", [](v1::DescribeReply& d) { d.set_page_key_version(99); }},
           {"model_differs", [](v1::DescribeReply& d) { d.set_model_digest("other"); }},
           {"tokenizer_differs", [](v1::DescribeReply& d) { d.set_tokenizer_digest("other"); }},
           {"page_format_differs", [](v1::DescribeReply& d) { d.set_page_tokens(32); }},
           {"context_too_small", [](v1::DescribeReply& d) { d.set_context_tokens_max(100); }}}) {
    FakeWorker::Options worker;
    worker.address = Address(1);
    worker.description = SmallDescription();
    change(worker.description);
    worker.answer = [](const v1::GenerateRequest&) { return FakeWorker::Answer{SmallIds("no")}; };
    const auto other = FakeWorker::Start(std::move(worker));
    ASSERT_OK(other.status());
    AwaitMetric(absl::StrCat("facet_worker_refusals_total{reason=\"", reason, "\",worker=\"",
                             Address(1), "\"}"));
    for (int i = 0; i < 5; ++i) EXPECT_EQ(Chat().status, 200);
    EXPECT_EQ((*other)->started(), 0) << reason;
  }
  workers_.push_back(StartWorker("small", Address(1)));
  AwaitUp(1);
  EXPECT_THAT(::testing::internal::GetCapturedStderr(), HasSubstr("worker refused"));
}

// ------------------------------------------------------------------------- flags

// Given workers that cannot be meant, expect an error that names the flag and the entry.
TEST_F(DiscoveryTest, WrongFlags) {
  const auto start = [&](const std::vector<std::string>& workers) {
    RouterOptions options;
    options.workers = workers;
    return Router::Start(options).status();
  };
  EXPECT_THAT(start({}), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--workers")));
  for (const char* worker : {"dns:///workers", "worker", "worker:0", "dns://server/workers:1"}) {
    EXPECT_THAT(start({"a:1", worker}),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         ::testing::AllOf(HasSubstr("--workers: "), HasSubstr(worker))));
  }
  RouterOptions options;
  options.accept_workers = true;
  options.workers_max = 0;
  EXPECT_THAT(Router::Start(options).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--workers_max")));
  options.workers_max = 10;
  options.resolve_ms = 0;
  EXPECT_THAT(Router::Start(options).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--resolve_ms")));
}

}  // namespace
}  // namespace facet
