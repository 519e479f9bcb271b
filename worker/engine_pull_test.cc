// Prefixes that another worker has, pulled over loopback: the answers are those of computing, and
// whatever is wrong with the other worker costs time alone.
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "worker/describe.h"
#include "worker/page_puller.h"
#include "worker/page_wire.h"
#include "worker/testing/scripted_worker.h"
#include "worker/testing/test_engine.h"
#include "worker/watch_board.h"
#include "worker/worker_service.h"

namespace facet::testing {
namespace {

constexpr int kPrefixTokens = 192;
constexpr int kPrefixPages = kPrefixTokens / 64;

// A long prompt, greedy or sampled.
v1::GenerateRequest LongRequest(bool sampled) {
  std::vector<uint32_t> prompt = {2};
  for (int i = 1; i < kPrefixTokens + 20; ++i) prompt.push_back(110 + (i * 37) % 1800);
  v1::GenerateRequest request = Request(prompt, 12);
  if (sampled) {
    request.mutable_sampling()->set_temperature(1.0f);
    request.mutable_sampling()->set_top_k(40);
    request.mutable_sampling()->set_seed(7);
  }
  request.mutable_sampling()->set_want_logprobs(true);
  return request;
}

v1::GenerateRequest From(const std::string& address, v1::GenerateRequest request) {
  request.mutable_kv_source()->set_address(address);
  request.mutable_kv_source()->set_pages(kPrefixPages);
  return request;
}

// A worker behind a port, which has answered `requests`.
class Owner {
 public:
  explicit Owner(const std::vector<v1::GenerateRequest>& requests, const EngineShape& shape = {})
      : engine_(shape),
        service_(DescribeWorker(*engine_.model, engine_.engine->options(), "tiny"),
                 engine_.engine.get(), &board_, engine_.model->adapters.get(),
                 {engine_.model->page_format()}),
        server_(&service_) {
    engine_.engine->Start();
    uint64_t id = 0;
    for (const v1::GenerateRequest& request : requests)
      results.push_back(engine_.Run(request, ++id));
  }
  std::string address() const { return server_.address(); }

  std::vector<Result> results;

 private:
  TestEngine engine_;
  WatchBoard board_;
  WorkerService service_;
  LoopbackServer server_;
};

EngineShape PullingShape() {
  EngineShape shape;
  shape.tiers.host_bytes = 64 << 20;
  shape.peers = [](const PageFormat& format) {
    return std::make_unique<PagePuller>(PagePullerOptions{format});
  };
  return shape;
}

int64_t FaultsOf(TestEngine& engine, PullFault kind) {
  return static_cast<PagePuller&>(*engine.peers).faults(kind);
}

// Given another worker that has the prefix, expect it to be pulled and the answer to be that of
// computing, greedy and sampled, with log probabilities; the next time it is here.
TEST(EnginePullTest, AnswersAreThoseOfComputing) {
  Owner owner({LongRequest(false), LongRequest(true)});
  for (const bool sampled : {false, true}) {
    TestEngine engine(PullingShape());
    engine.engine->Start();
    const Result pulled = engine.Run(From(owner.address(), LongRequest(sampled)), 1);
    ExpectSameAnswer(pulled, owner.results[sampled]);
    EXPECT_EQ(pulled.ledger.cached_tokens(), kPrefixTokens);
    EXPECT_EQ(pulled.ledger.cached_peer_tokens(), kPrefixTokens);
    const Result again = engine.Run(From(owner.address(), LongRequest(sampled)), 2);
    ExpectSameAnswer(again, owner.results[sampled]);
    EXPECT_EQ(again.ledger.cached_device_tokens(), kPrefixTokens);
    absl::MutexLock lock(&engine.load_mutex);
    EXPECT_GT(engine.last_load.pulled_pages(), kPrefixPages);
    EXPECT_GT(engine.last_load.peer_bytes_per_s(), 0);
    EXPECT_EQ(engine.last_load.missed_pages(), 0);
  }
}

// Given two requests at once with one prefix, expect it to be pulled once for both.
TEST(EnginePullTest, PullsASharedPrefixOnce) {
  Owner owner({LongRequest(false)});
  TestEngine engine(PullingShape());
  for (uint64_t id : {1, 2}) {
    EXPECT_OK(engine.engine->Submit(From(owner.address(), LongRequest(false)), engine.results, id));
  }
  engine.engine->Start();
  for (uint64_t id : {1, 2}) {
    const Result result = engine.results->Wait(id);
    ExpectSameAnswer(result, owner.results[0]);
    EXPECT_EQ(result.ledger.cached_tokens(), kPrefixTokens);
  }
  const int64_t window_pages = engine.model->cache->pages().WindowPages(kPrefixPages);
  EXPECT_EQ(engine.peers->stats().pages, kPrefixPages + window_pages);
}

// Given an owner that has the prefix in host memory and on disk alone, expect it all the same.
TEST(EnginePullTest, PullsWhatTheOwnerHasOnDisk) {
  std::string folder = absl::StrCat(::testing::TempDir(), "/engine_pull_XXXXXX");
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  EngineShape shape;
  shape.tiers = {64 << 20, folder, 1 << 30};
  const Result computed = Owner({LongRequest(false)}, shape).results[0];
  Owner restarted({}, shape);
  TestEngine engine(PullingShape());
  engine.engine->Start();
  const Result pulled = engine.Run(From(restarted.address(), LongRequest(false)));
  ExpectSameAnswer(pulled, computed);
  EXPECT_EQ(pulled.ledger.cached_peer_tokens(), kPrefixTokens);
  std::filesystem::remove_all(folder);
}

class BadPeerTest : public ::testing::Test {
 protected:
  // The answer of computing, and that of an engine told to pull from `address`: they are equal, and
  // nothing was pulled.
  void ExpectComputed(const std::string& address, PullFault fault) {
    EngineShape shape = PullingShape();
    shape.real_clock = true;
    TestEngine engine(shape);
    engine.engine->Start();
    // Tells how fast it computes, which bounds how long it waits.
    v1::GenerateRequest other = LongRequest(true);
    other.set_cache_salt("other");
    engine.Run(other, 1);
    const Result result = engine.Run(From(address, LongRequest(true)), 2);
    static const Result* const computed = [] {
      TestEngine plain;
      plain.engine->Start();
      return new Result(plain.Run(LongRequest(true)));
    }();
    ExpectSameAnswer(result, *computed);
    EXPECT_EQ(result.ledger.cached_tokens(), 0);
    EXPECT_EQ(FaultsOf(engine, fault), 1);
  }
};

TEST_F(BadPeerTest, Gone) {
  v1::Worker::Service nothing;
  LoopbackServer gone(&nothing);
  gone.Stop();
  ExpectComputed(gone.address(), PullFault::kUnreachable);
}

TEST_F(BadPeerTest, SendsCorruptPages) {
  ScriptedWorker service(
      [](const v1::PullPagesRequest& request, grpc::ServerWriter<v1::PullPagesReply>* writer) {
        v1::PullPagesReply reply;
        reply.set_data(std::string(1000, 'x'));
        reply.set_sha256(DigestOfPiece((*ParsePullRequest(request))[0], 0, reply.data()));
        writer->Write(reply);
        reply.set_offset(1000);
        writer->Write(reply);  // with the digest of the piece before
        return grpc::Status::OK;
      });
  LoopbackServer server(&service);
  ExpectComputed(server.address(), PullFault::kCorrupt);
  EXPECT_EQ(service.pulls(), 1);
}

TEST_F(BadPeerTest, EndsTooEarly) {
  ScriptedWorker service([](const v1::PullPagesRequest&, grpc::ServerWriter<v1::PullPagesReply>*) {
    return grpc::Status::OK;
  });
  LoopbackServer server(&service);
  ExpectComputed(server.address(), PullFault::kTorn);
}

TEST_F(BadPeerTest, NeverAnswers) {
  absl::Notification over;
  ScriptedWorker service([&](const v1::PullPagesRequest&, grpc::ServerWriter<v1::PullPagesReply>*) {
    over.WaitForNotification();
    return grpc::Status::OK;
  });
  LoopbackServer server(&service);
  ExpectComputed(server.address(), PullFault::kLate);
  over.Notify();
}

TEST_F(BadPeerTest, HasPagesOfAnotherModel) {
  ScriptedWorker service([](const v1::PullPagesRequest&, grpc::ServerWriter<v1::PullPagesReply>*) {
    return grpc::Status(grpc::StatusCode::FAILED_PRECONDITION, "label: another");
  });
  LoopbackServer server(&service);
  ExpectComputed(server.address(), PullFault::kForeign);
}

// Given an owner that has none of the pages any more, expect computing, and no fault.
TEST(EnginePullTest, ComputesWhatTheOwnerLost) {
  Owner owner({});
  TestEngine engine(PullingShape());
  engine.engine->Start();
  const Result result = engine.Run(From(owner.address(), LongRequest(false)));
  EXPECT_EQ(result.ledger.cached_tokens(), 0);
  EXPECT_EQ(result.tokens.size(), 12);
  EXPECT_GT(engine.peers->stats().missed, kPrefixPages);
  for (int kind = 0; kind < kPullFaultKinds; ++kind) {
    EXPECT_EQ(FaultsOf(engine, static_cast<PullFault>(kind)), 0);
  }
}

}  // namespace
}  // namespace facet::testing
