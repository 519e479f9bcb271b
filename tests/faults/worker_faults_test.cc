// What workers and the network between do to a router: they lie, flood, flap, crawl and fall
// silent. Every request must be answered as if nothing had been.

#include <boost/json.hpp>
#include <chrono>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "proto/page_event.h"
#include "router/router.h"
#include "tests/fake_worker/fake_worker.h"
#include "tests/fake_worker/small_model.h"
#include "tests/faults/passage.h"
#include "tests/faults/seed.h"
#include "tests/router_fixture.h"
#include "tests/steady_clients.h"

namespace facet {
namespace {

namespace json = boost::json;
using ::facet::testing::ChatBody;
using ::facet::testing::Client;
using ::facet::testing::Content;
using ::facet::testing::Events;
using ::facet::testing::FakeWorker;
using ::facet::testing::Passage;
using ::facet::testing::Response;
using ::facet::testing::RouterTest;
using ::facet::testing::SeededRandom;
using ::facet::testing::SmallDescription;
using ::facet::testing::SmallIds;
using ::facet::testing::SteadyClients;

class WorkerFaultsTest : public RouterTest {
 protected:
  // Asks for streams, so many at once, until the result ends.
  std::unique_ptr<SteadyClients> Ask(int count) {
    return std::make_unique<SteadyClients>(router_->http_port(), count, kAnswer);
  }
  // A worker on a port that was free a moment ago.
  std::unique_ptr<FakeWorker> StartAgain(const std::string& address) {
    for (;;) {
      FakeWorker::Options options;
      options.address = address;
      options.description = SmallDescription();
      options.answer = [](const v1::GenerateRequest&) {
        return FakeWorker::Answer{SmallIds(absl::StrCat(kAnswer, "<turn|>"))};
      };
      auto worker = FakeWorker::Start(std::move(options));
      if (worker.ok()) return *std::move(worker);
    }
  }

  std::mt19937 random_ = SeededRandom();
};

// Given a worker behind a connection that falls silent in the middle of a stream, which nobody
// closes, expect that to be noticed within 5 s, and the stream to go on at the other worker.
TEST_F(WorkerFaultsTest, HalfOpenConnectionIsNoticed) {
  std::vector<std::unique_ptr<Passage>> passages;
  std::vector<std::string> addresses;
  for (int i = 0; i < 2; ++i) {
    workers_.push_back(StartWorker());
    passages.push_back(std::make_unique<Passage>(workers_[i]->port()));
    addresses.push_back(passages[i]->address());
  }
  StartRouter(addresses);
  for (const std::string& address : addresses) AwaitWorker(address, true);
  HoldAll(1 + random_() % 5);
  Client client = Connect();
  client.Write(Client::RequestText("POST", "/v1/chat/completions", ChatBody(R"("stream":true)")));
  EXPECT_EQ(client.ReadHeader().status, 200);
  std::string body = client.ReadChunk();
  const int silent = workers_[0]->running() > 0 ? 0 : 1;
  passages[silent]->Freeze();
  const auto began = std::chrono::steady_clock::now();
  workers_[1 - silent]->Release();
  body += client.ReadChunks();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
  std::printf("noticed after %.2f s\n", took.count());
  EXPECT_LT(took.count(), 5);
  EXPECT_EQ(Content(Events(body)), kAnswer);
  EXPECT_EQ(Chat().status, 200);
}

// Given a worker that is ten times slower than the other, expect all to be answered, and the slow
// one to get less.
TEST_F(WorkerFaultsTest, SlowWorkerGetsLess) {
  for (const int token_ms : {10, 100}) {
    FakeWorker::Options options;
    options.description = SmallDescription();
    options.description.set_running_requests_max(2);
    options.token_interval = absl::Milliseconds(token_ms);
    options.answer = [](const v1::GenerateRequest&) {
      return FakeWorker::Answer{SmallIds(absl::StrCat(kAnswer, "<turn|>"))};
    };
    auto worker = FakeWorker::Start(std::move(options));
    ASSERT_OK(worker.status());
    workers_.push_back(*std::move(worker));
  }
  StartRouter({workers_[0]->address(), workers_[1]->address()});
  for (const auto& worker : workers_) AwaitWorker(worker->address(), true);
  Ask(6)->AwaitMore(40);
  EXPECT_GT(workers_[1]->started(), 0);
  EXPECT_GT(workers_[0]->started(), 2 * workers_[1]->started());
}

// Given workers whose reports of their load are lies of all kinds, not numbers and overflows among
// them, beside one that says the truth, expect every request to be answered, and the debug page to
// be JSON.
TEST_F(WorkerFaultsTest, LyingLoadReportsHarmNobody) {
  StartAll(3);
  const double kRates[] = {0,
                           -1,
                           1e-300,
                           1,
                           1e300,
                           std::numeric_limits<double>::infinity(),
                           -std::numeric_limits<double>::infinity(),
                           std::numeric_limits<double>::quiet_NaN()};
  const uint64_t kCounts[] = {0, 1, 1000, std::numeric_limits<uint32_t>::max(),
                              std::numeric_limits<uint64_t>::max()};
  const auto rate = [&] { return kRates[random_() % std::size(kRates)]; };
  const auto count = [&] { return kCounts[random_() % std::size(kCounts)]; };
  for (int i = 0; i < 150; ++i) {
    for (const int liar : {0, 1}) {
      v1::Load load;
      load.set_prefill_tokens_waiting(count());
      load.set_prefill_tokens_per_s(rate());
      load.set_decode_step_s(rate());
      load.set_decode_row_s(rate());
      load.set_peer_bytes_per_s(rate());
      load.set_generated_tokens_per_s(rate());
      workers_[liar]->SetLoad(load);
    }
    const Response response = Chat();
    ASSERT_EQ(response.status, 200) << response.body;
    boost::system::error_code error;
    const std::string page = Get("/debug/workers").body;
    json::parse(page, error);
    ASSERT_FALSE(error) << page;
  }
}

// Given a worker that tells of pages without end while requests run, expect them to be answered,
// and the index to keep to its bound.
TEST_F(WorkerFaultsTest, FloodOfPageEventsIsBounded) {
  options_.index_pages_max = 1000;
  StartAll(2);
  const auto clients = Ask(2);
  for (int i = 0; i < 40; ++i) {
    std::vector<PageEvent> events(100);
    for (PageEvent& event : events) {
      for (uint8_t& byte : event.key) byte = static_cast<uint8_t>(random_());
      event.stored = true;
      event.sliding = random_() % 2 == 0;
    }
    workers_[0]->TellPages(events);
  }
  while (Get("/debug/workers").Json().at("cached_pages").as_int64() < 900) {
    std::this_thread::yield();
  }
  EXPECT_LE(Get("/debug/workers").Json().at("cached_pages").as_int64(), 1000);
  clients->AwaitMore(10);
}

// Given gaps in a worker's news, again and again while requests run, expect them to be answered,
// also while it counts as lost for it. (Of two such workers a request may lose both in a row, and
// ends then.)
TEST_F(WorkerFaultsTest, GapsInTheNewsHarmNobody) {
  StartAll(2);
  const auto clients = Ask(3);
  for (int i = 0; i < 20; ++i) {
    workers_[0]->LoseNews();
    clients->AwaitMore(1 + static_cast<int>(random_() % 5));
  }
}

// Given a worker that dies and comes back all the time, beside one that stays, expect every stream
// whole.
TEST_F(WorkerFaultsTest, FlappingWorkerHarmsNobody) {
  StartAll(2);
  const auto clients = Ask(4);
  const std::string address = workers_[0]->address();
  for (int i = 0; i < 15; ++i) {
    clients->AwaitMore(static_cast<int>(random_() % 8));
    workers_[0]->Kill();
    clients->AwaitMore(static_cast<int>(random_() % 8));
    workers_[0] = StartAgain(address);
  }
  AwaitWorker(address, true);
}

// Given that one worker after the other dies under load until none is there, and that they come
// back, expect nothing to be lost but time.
TEST_F(WorkerFaultsTest, AllWorkersGoneAndBack) {
  StartAll(2);
  const std::vector<std::string> addresses = {workers_[0]->address(), workers_[1]->address()};
  const auto clients = Ask(6);
  for (int round = 0; round < 3; ++round) {
    clients->AwaitMore(1 + static_cast<int>(random_() % 20));
    for (size_t i = 0; i < workers_.size(); ++i) {
      workers_[i]->Kill();
      AwaitWorker(addresses[i], false);
      // A request that lost both in a row would be given up, so those of the first end here.
      if (i + 1 < workers_.size()) clients->AwaitMore(60);
    }
    for (size_t i = 0; i < workers_.size(); ++i) workers_[i] = StartAgain(addresses[i]);
    clients->AwaitMore(60);
  }
}

}  // namespace
}  // namespace facet
