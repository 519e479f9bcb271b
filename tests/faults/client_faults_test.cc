// What clients do to a router: they crawl, hold connections open, and go. And what its own restart
// does to them.

#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <boost/json.hpp>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "router/router.h"
#include "tests/fake_worker/fake_worker.h"
#include "tests/fake_worker/small_model.h"
#include "tests/faults/seed.h"
#include "tests/router_fixture.h"

namespace facet {
namespace {

using ::facet::testing::ChatBody;
using ::facet::testing::Client;
using ::facet::testing::Content;
using ::facet::testing::Events;
using ::facet::testing::FakeWorker;
using ::facet::testing::Response;
using ::facet::testing::RouterTest;
using ::facet::testing::SeededRandom;
using ::facet::testing::SmallIds;

// A connection that costs one file, and of which each byte may be read alone.
class RawClient {
 public:
  explicit RawClient(int port) : socket_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in router = {};
    router.sin_family = AF_INET;
    router.sin_port = htons(static_cast<uint16_t>(port));
    router.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(socket_, reinterpret_cast<sockaddr*>(&router), sizeof(router)), 0);
  }
  RawClient(RawClient&& other) noexcept : socket_(std::exchange(other.socket_, -1)) {}
  ~RawClient() {
    if (socket_ >= 0) close(socket_);
  }

  void Write(const std::string& bytes) { send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL); }
  // Fewer bytes if the router closes.
  std::string Read(size_t size) {
    std::string bytes(size, 0);
    const ssize_t read = recv(socket_, bytes.data(), size, MSG_WAITALL);
    bytes.resize(std::max<ssize_t>(0, read));
    return bytes;
  }
  bool IsServed() {
    Write(Client::RequestText("POST", "/v1/chat/completions", ChatBody()));
    const std::string ok = "HTTP/1.1 200";
    return Read(ok.size()) == ok;
  }

 private:
  int socket_;
};

class ClientFaultsTest : public RouterTest {
 protected:
  std::mt19937 random_ = SeededRandom();
};

// Given clients that read their streams a byte at a time and rarely, expect the others to be served
// beside them, and those to be cut off when a write takes too long.
TEST_F(ClientFaultsTest, ReadingByteByByteBlocksNobody) {
  constexpr int kSlow = 4;
  options_.http.write_timeout_ms = 300;
  StartAll(1);
  // More than the kernel's buffers hold.
  SetAnswer([](const v1::GenerateRequest& request) {
    return FakeWorker::Answer{
        SmallIds(request.tokens_max() > 1000 ? std::string(50'000, 'x') : "ok<turn|>")};
  });
  std::vector<RawClient> slow;
  for (int i = 0; i < kSlow; ++i) {
    slow.emplace_back(router_->http_port());
    slow.back().Write(Client::RequestText("POST", "/v1/chat/completions",
                                          ChatBody(R"("stream":true,"max_tokens":4000)")));
  }
  ASSERT_TRUE(workers_[0]->AwaitStarted(kSlow));
  // One byte of somebody's stream for each answer to another.
  while (!absl::StrContains(Metrics(), "facet_requests_running 0\n")) {
    slow[random_() % kSlow].Read(1);
    const Response response = Chat(R"("max_tokens":10)");
    ASSERT_EQ(response.status, 200) << response.body;
  }
  EXPECT_TRUE(workers_[0]->AwaitRunning(0));
}

// Given as many connections as there may be, open and idle, expect one that is among them to be
// served, the next to be closed, and room again when they go. 10,000, or half as many as this
// process may have files.
TEST_F(ClientFaultsTest, TenThousandConnections) {
  rlimit files;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &files), 0);
  files.rlim_cur = files.rlim_max;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &files), 0);
  const int count = static_cast<int>(std::min<rlim_t>(10'000, (files.rlim_cur - 500) / 2));
  std::printf("%d connections\n", count);
  options_.http.connections_max = count;
  StartAll(1);
  std::vector<RawClient> clients;
  // The last connections of the fixture may not be gone yet, so these are a few less.
  constexpr int kSpare = 50;
  for (int i = 0; i < count - kSpare; ++i) clients.emplace_back(router_->http_port());
  const size_t lucky = random_() % clients.size();
  EXPECT_TRUE(clients[lucky].IsServed());
  // One that is too many is closed at once, so a read of it ends.
  for (int i = 0; i < 2 * kSpare; ++i) clients.emplace_back(router_->http_port());
  for (int i = 0; i < kSpare; ++i) {
    EXPECT_EQ(clients.back().Read(1), "");
    clients.pop_back();
  }
  EXPECT_TRUE(clients[(lucky + 1) % (count - kSpare)].IsServed());
  clients.clear();
  // The router sees them go in its time.
  while (!RawClient(router_->http_port()).IsServed()) std::this_thread::yield();
}

// Given clients that go at any moment of their streams, by the seed, expect the worker to be free
// of them, and others to be answered.
TEST_F(ClientFaultsTest, VanishingClientsLeaveNothingBehind) {
  StartAll(1);
  workers_[0]->HoldAfter(2);
  for (int i = 0; i < 60; ++i) {
    Client client = Connect();
    const std::string request =
        Client::RequestText("POST", "/v1/chat/completions", ChatBody(R"("stream":true)"));
    client.Write(request.substr(0, 1 + random_() % (2 * request.size())));
    if (random_() % 3 == 0) client.Close();
  }
  AwaitMetric("facet_requests_running 0\n");
  EXPECT_TRUE(workers_[0]->AwaitRunning(0));
  workers_[0]->Release();
  EXPECT_EQ(Chat().status, 200);
}

// Given two routers behind a balancer, which uses those that are ready and tries the other one
// where a connection is refused or closed before an answer began, and each of them restarted in
// turn, expect no request to fail.
TEST_F(ClientFaultsTest, RoutersRestartUnderLoad) {
  StartAll(2);
  RouterOptions options[2] = {options_, options_};
  std::unique_ptr<Router> routers[2];
  std::atomic<bool> ready[2] = {true, false};
  routers[0] = std::move(router_);
  options[0].http.port = routers[0]->http_port();
  const auto start = [&](int which) {
    auto router = Router::Start(options[which]);
    while (!router.ok()) router = Router::Start(options[which]);
    options[which].http.port = (*router)->http_port();
    routers[which] = *std::move(router);
    while (Client(options[which].http.port).Send("GET", "/readiness").status != 200) {
      std::this_thread::yield();
    }
    ready[which] = true;
  };
  start(1);
  const int ports[2] = {options[0].http.port, options[1].http.port};
  std::atomic<bool> done = false;
  std::atomic<int> answers = 0, retries = 0;
  std::vector<std::thread> clients;
  for (int i = 0; i < 4; ++i) {
    clients.emplace_back([&, i] {
      for (int turn = i; !done; ++turn) {
        if (!ready[turn % 2]) {
          std::this_thread::yield();
          continue;
        }
        Response response;
        try {
          Client client(ports[turn % 2]);
          response = client.Send("POST", "/v1/chat/completions", ChatBody(R"("stream":true)"));
        } catch (const boost::system::system_error&) {
          response.status = 0;  // Refused.
        }
        if (response.status == 0) {
          ++retries;
          continue;
        }
        ASSERT_EQ(response.status, 200) << response.body;
        ASSERT_EQ(Content(Events(response.body)), kAnswer);
        ++answers;
      }
    });
  }
  for (int round = 0; round < 4; ++round) {
    const int before = answers;
    while (answers < before + 5 + static_cast<int>(random_() % 20)) std::this_thread::yield();
    routers[round % 2]->Stop(/*drain_ms=*/30'000);
    ready[round % 2] = false;
    routers[round % 2] = nullptr;
    start(round % 2);
  }
  done = true;
  for (std::thread& client : clients) client.join();
  std::printf("%d answers, %d tries elsewhere\n", answers.load(), retries.load());
}

}  // namespace
}  // namespace facet
