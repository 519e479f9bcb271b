// Both sides of PullPages, over loopback: a puller against a server, and against workers that do
// wrong.
#include <algorithm>
#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "worker/page_puller.h"
#include "worker/page_server.h"
#include "worker/page_wire.h"
#include "worker/testing/scripted_worker.h"

namespace facet {
namespace {

using ::facet::testing::LoopbackServer;
using ::facet::testing::ScriptedWorker;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int64_t kFullBytes = 3 * kPullPieceBytesMax / 2;
constexpr int64_t kSlidingBytes = 1000;
constexpr char kLabel[] = "model 1, class a";
// Long for a test that waits for it in vain, and no bound of a good one.
constexpr absl::Duration kPatience = absl::Seconds(30);

PoolKey Page(KvPool pool, uint8_t number) {
  PageKey key = {};
  key[3] = number;
  return {pool, key};
}

std::string ContentsOf(const PoolKey& page) {
  std::string contents(page.first == KvPool::kFull ? kFullBytes : kSlidingBytes, '\0');
  for (size_t i = 0; i < contents.size(); ++i) {
    contents[i] = static_cast<char>(page.second[3] * 7 + i / 3 + static_cast<int>(page.first));
  }
  return contents;
}

template <typename Options>
Options WithPages(Options options) {
  options.format = {kLabel, {kFullBytes, kSlidingBytes}};
  return options;
}

// Answers by a PageServer whose pages are read on a thread of its own; while it is held, not at
// all. Pages with an odd number are absent.
class PageService final : public v1::Worker::CallbackService {
 public:
  explicit PageService(PageServerOptions options = WithPages(PageServerOptions()))
      : pages_(std::move(options),
               [this](std::vector<PoolKey> keys, PageServer::Taker taker) {
                 absl::MutexLock lock(&mutex_);
                 queue_.emplace_back(std::move(keys), std::move(taker));
               }),
        thread_([this] { Read(); }) {}
  ~PageService() override {
    {
      absl::MutexLock lock(&mutex_);
      stopping_ = true;
    }
    thread_.join();
  }
  grpc::ServerWriteReactor<v1::PullPagesReply>* PullPages(
      grpc::CallbackServerContext*, const v1::PullPagesRequest* request) override {
    return pages_.Pull(*request);
  }
  void Hold(bool held) {
    absl::MutexLock lock(&mutex_);
    held_ = held;
  }
  bool AwaitQueued() {
    const auto queued = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return !queue_.empty(); };
    absl::MutexLock lock(&mutex_);
    return mutex_.AwaitWithTimeout(absl::Condition(&queued), kPatience);
  }
  int pulls() const { return pages_.pulls(); }
  size_t largest_batch() {
    absl::MutexLock lock(&mutex_);
    return largest_batch_;
  }

 private:
  void Read() {
    const auto ready = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
      return stopping_ || (!held_ && !queue_.empty());
    };
    while (true) {
      std::pair<std::vector<PoolKey>, PageServer::Taker> next;
      {
        absl::MutexLock lock(&mutex_);
        mutex_.Await(absl::Condition(&ready));
        if (stopping_) return;
        next = std::move(queue_.front());
        queue_.pop_front();
        largest_batch_ = std::max(largest_batch_, next.first.size());
      }
      std::vector<std::string> contents;
      for (const PoolKey& page : next.first) {
        contents.push_back(page.second[3] % 2 == 0 ? ContentsOf(page) : "");
      }
      next.second(std::move(contents));
    }
  }

  PageServer pages_;
  absl::Mutex mutex_;
  std::deque<std::pair<std::vector<PoolKey>, PageServer::Taker>> queue_ ABSL_GUARDED_BY(mutex_);
  bool held_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  size_t largest_batch_ ABSL_GUARDED_BY(mutex_) = 0;
  std::thread thread_;
};

// Asks again until it is so.
void AwaitTrue(const std::function<bool()>& condition) {
  const absl::Time limit = absl::Now() + kPatience;
  bool is = condition();
  for (; !is && absl::Now() < limit; is = condition()) std::this_thread::yield();
  EXPECT_TRUE(is);
}

class PagePullTest : public ::testing::Test {
 protected:
  PagePullTest() : PagePullTest(WithPages(PagePullerOptions())) {}
  explicit PagePullTest(PagePullerOptions options) {
    options.clock = [this] { return absl::Now() + absl::Seconds(ahead_s_.load()); };
    puller_ = std::make_unique<PagePuller>(options);
    puller_->Start([this] {
      const std::vector<PageCopy> pages = puller_->TakeCompleted();
      absl::MutexLock lock(&mutex_);
      done_.insert(done_.end(), pages.begin(), pages.end());
    });
  }
  // What has ended may still tell of it, through puller_.
  ~PagePullTest() override { puller_->BlockingStop(); }

  // Begins to pull these pages into memory of the test's.
  uint64_t Begin(const std::string& address, const std::vector<PoolKey>& pages,
                 absl::Duration timeout = kPatience) {
    std::vector<PageCopy> copies;
    for (const PoolKey& page : pages) {
      memory_.push_back(std::string(ContentsOf(page).size(), 'x'));
      copies.push_back({page, static_cast<int32_t>(memory_.size()) - 1, 0,
                        reinterpret_cast<uint8_t*>(memory_.back().data())});
    }
    return puller_->Pull(address, std::move(copies), timeout);
  }
  // Which of the pages came, when all are done; each that did is checked.
  std::vector<bool> Await(size_t count) {
    const auto done = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return done_.size() >= count; };
    std::vector<bool> came;
    absl::MutexLock lock(&mutex_);
    EXPECT_TRUE(mutex_.AwaitWithTimeout(absl::Condition(&done), kPatience));
    EXPECT_EQ(done_.size(), count);
    for (const PageCopy& page : done_) {
      came.push_back(page.ok);
      if (page.ok) {
        EXPECT_EQ(memory_[page.slot], ContentsOf(page.key));
      }
    }
    done_.clear();
    return came;
  }
  std::vector<bool> Pull(const std::string& address, const std::vector<PoolKey>& pages,
                         absl::Duration timeout = kPatience) {
    Begin(address, pages, timeout);
    return Await(pages.size());
  }
  // Pulls three pages from a worker that does as `script` says.
  std::vector<bool> PullFrom(const ScriptedWorker::Script& script) {
    ScriptedWorker service(script);
    LoopbackServer server(&service);
    return Pull(server.address(),
                {Page(KvPool::kSliding, 2), Page(KvPool::kSliding, 4), Page(KvPool::kSliding, 6)});
  }

  static v1::PullPagesReply Piece(const PoolKey& page, uint32_t index) {
    v1::PullPagesReply reply;
    reply.set_page(index);
    reply.set_data(ContentsOf(page));
    reply.set_sha256(DigestOfPiece(page, 0, reply.data()));
    return reply;
  }

  std::atomic<int> ahead_s_{0};  // by which the clock is ahead
  absl::Mutex mutex_;
  std::vector<PageCopy> done_ ABSL_GUARDED_BY(mutex_);
  std::deque<std::string> memory_;
  std::unique_ptr<PagePuller> puller_;
};

// Given pages of both pools, one of which is not there, expect the others byte for byte, in batches
// of two and of one.
TEST_F(PagePullTest, PullsWhatIsThere) {
  for (const int64_t batch_bytes : {2 * kFullBytes, int64_t{1}}) {
    PageServerOptions options = WithPages(PageServerOptions());
    options.batch_bytes = batch_bytes;
    PageService service(options);
    LoopbackServer server(&service);
    EXPECT_THAT(Pull(server.address(), {Page(KvPool::kFull, 2), Page(KvPool::kFull, 4),
                                        Page(KvPool::kFull, 3), Page(KvPool::kFull, 6),
                                        Page(KvPool::kSliding, 6), Page(KvPool::kSliding, 8)}),
                ElementsAre(true, true, false, true, true, true));
    EXPECT_EQ(service.largest_batch(), batch_bytes == 1 ? 1u : 2u);
  }
  EXPECT_EQ(puller_->stats().pages, 2 * 5);
  EXPECT_EQ(puller_->stats().bytes, 2 * (3 * kFullBytes + 2 * kSlidingBytes));
  EXPECT_EQ(puller_->stats().missed, 2);
  for (int kind = 0; kind < kPullFaultKinds; ++kind) {
    EXPECT_EQ(puller_->faults(static_cast<PullFault>(kind)), 0);
  }
}

// Given a measured rate, expect it to be told for a minute.
TEST_F(PagePullTest, ForgetsAnOldRate) {
  PageService service;
  LoopbackServer server(&service);
  EXPECT_EQ(puller_->bytes_per_s(), 0);
  Pull(server.address(), {Page(KvPool::kFull, 2)});
  // It is known a moment after the last page, when the call has ended.
  AwaitTrue([&] { return puller_->bytes_per_s() > 0; });
  ahead_s_ = 61;
  EXPECT_EQ(puller_->bytes_per_s(), 0);
}

// Given a piece with a flipped bit, of another page, at another place, too long or empty, expect
// what came before it and nothing after, and one fault each.
TEST_F(PagePullTest, TakesNothingThatIsWrong) {
  const std::vector<std::function<void(v1::PullPagesReply&)>> changes = {
      [](v1::PullPagesReply& piece) { piece.mutable_data()->at(500) ^= 1; },
      [](v1::PullPagesReply& piece) { piece = Piece(Page(KvPool::kSliding, 6), 1); },
      [](v1::PullPagesReply& piece) { piece.set_page(2); },
      [](v1::PullPagesReply& piece) { piece.set_offset(1); },
      [](v1::PullPagesReply& piece) {
        piece.mutable_data()->append("x");
        piece.set_sha256(DigestOfPiece(Page(KvPool::kSliding, 4), 0, piece.data()));
      },
      [](v1::PullPagesReply& piece) { piece.clear_data(); },
  };
  for (const auto& change : changes) {
    EXPECT_THAT(
        PullFrom([&](const v1::PullPagesRequest&, grpc::ServerWriter<v1::PullPagesReply>* writer) {
          writer->Write(Piece(Page(KvPool::kSliding, 2), 0));
          v1::PullPagesReply piece = Piece(Page(KvPool::kSliding, 4), 1);
          change(piece);
          writer->Write(piece);
          writer->Write(Piece(Page(KvPool::kSliding, 6), 2));
          return grpc::Status::OK;
        }),
        ElementsAre(true, false, false));
  }
  EXPECT_EQ(puller_->faults(PullFault::kCorrupt), static_cast<int64_t>(changes.size()));
}

// Given a stream that ends between two pages or inside one, expect the rest to be missed.
TEST_F(PagePullTest, MissesWhatATornStreamLacks) {
  for (const bool inside : {false, true}) {
    EXPECT_THAT(
        PullFrom([&](const v1::PullPagesRequest&, grpc::ServerWriter<v1::PullPagesReply>* writer) {
          writer->Write(Piece(Page(KvPool::kSliding, 2), 0));
          v1::PullPagesReply piece = Piece(Page(KvPool::kSliding, 4), 1);
          piece.mutable_data()->resize(10);
          piece.set_sha256(DigestOfPiece(Page(KvPool::kSliding, 4), 0, piece.data()));
          if (inside) writer->Write(piece);
          return grpc::Status::OK;
        }),
        ElementsAre(true, false, false));
  }
  EXPECT_EQ(puller_->faults(PullFault::kTorn), 2);
}

// Given a worker that fails in the middle, or whose pages hold something else, or that serves no
// pulls at all, expect the rest to be missed, by the right name.
TEST_F(PagePullTest, NamesWhatWentWrong) {
  EXPECT_THAT(
      PullFrom([](const v1::PullPagesRequest&, grpc::ServerWriter<v1::PullPagesReply>* writer) {
        writer->Write(Piece(Page(KvPool::kSliding, 2), 0));
        return grpc::Status(grpc::StatusCode::UNAVAILABLE, "stopping");
      }),
      ElementsAre(true, false, false));
  EXPECT_EQ(puller_->faults(PullFault::kUnreachable), 1);
  PageServerOptions options = WithPages(PageServerOptions());
  options.format.label = "model 1, class b";
  PageService service(options);
  LoopbackServer foreign(&service);
  EXPECT_THAT(Pull(foreign.address(), {Page(KvPool::kFull, 2)}), ElementsAre(false));
  EXPECT_EQ(puller_->faults(PullFault::kForeign), 1);
  v1::Worker::Service nothing;
  LoopbackServer empty(&nothing);
  EXPECT_THAT(Pull(empty.address(), {Page(KvPool::kFull, 2)}), ElementsAre(false));
  EXPECT_EQ(puller_->faults(PullFault::kForeign), 2);
}

// Given a worker that never answers, expect the pages to be missed when the time is over; and a
// worker that is gone, at once.
TEST_F(PagePullTest, WaitsNoLongerThanItMay) {
  absl::Notification over;
  ScriptedWorker service([&](const v1::PullPagesRequest&, grpc::ServerWriter<v1::PullPagesReply>*) {
    over.WaitForNotification();
    return grpc::Status::OK;
  });
  LoopbackServer server(&service);
  EXPECT_THAT(Pull(server.address(), {Page(KvPool::kFull, 2)}, absl::Milliseconds(50)),
              ElementsAre(false));
  EXPECT_EQ(puller_->faults(PullFault::kLate), 1);
  over.Notify();
  v1::Worker::Service nothing;
  LoopbackServer gone(&nothing);
  gone.Stop();
  EXPECT_THAT(Pull(gone.address(), {Page(KvPool::kFull, 2)}), ElementsAre(false));
  EXPECT_EQ(puller_->faults(PullFault::kUnreachable), 1);
}

// Given a worker that failed, expect it to be left alone for a while and then asked again.
TEST_F(PagePullTest, LeavesAFailedWorkerAlone) {
  PageService service;
  service.Hold(true);
  LoopbackServer server(&service);
  EXPECT_THAT(Pull(server.address(), {Page(KvPool::kSliding, 2)}, absl::Milliseconds(50)),
              ElementsAre(false));
  service.Hold(false);
  EXPECT_THAT(Pull(server.address(), {Page(KvPool::kSliding, 2)}), ElementsAre(false));
  EXPECT_EQ(puller_->faults(PullFault::kLate), 1);
  ahead_s_ = 6;
  EXPECT_THAT(Pull(server.address(), {Page(KvPool::kSliding, 2)}), ElementsAre(true));
}

// Given a pull that nobody waits for, expect it to end at both sides, with no fault; and the same
// when the puller ends.
TEST_F(PagePullTest, EndsAtBothSidesWhenCancelled) {
  PageService service;
  service.Hold(true);
  LoopbackServer server(&service);
  const auto await_no_pulls = [&] { AwaitTrue([&] { return service.pulls() == 0; }); };
  const uint64_t pull = Begin(server.address(), {Page(KvPool::kFull, 2), Page(KvPool::kFull, 4)});
  ASSERT_TRUE(service.AwaitQueued());
  puller_->Cancel(pull);
  EXPECT_THAT(Await(2), ElementsAre(false, false));
  await_no_pulls();
  puller_->Cancel(pull);  // It has ended.
  service.Hold(false);
  EXPECT_THAT(Pull(server.address(), {Page(KvPool::kFull, 2)}), ElementsAre(true));
  service.Hold(true);
  Begin(server.address(), {Page(KvPool::kFull, 2)});
  ASSERT_TRUE(service.AwaitQueued());
  puller_->BlockingStop();
  EXPECT_THAT(Await(1), ElementsAre(false));
  await_no_pulls();
  EXPECT_EQ(puller_->faults(PullFault::kUnreachable), 0);
}

// Given more pulls than a worker serves, expect one more to be refused, and the others served.
TEST_F(PagePullTest, ServesSoManyAtOnce) {
  PageServerOptions options = WithPages(PageServerOptions());
  options.pulls_max = 1;
  PageService service(options);
  service.Hold(true);
  LoopbackServer server(&service);
  Begin(server.address(), {Page(KvPool::kSliding, 2)});
  ASSERT_TRUE(service.AwaitQueued());
  Begin(server.address(), {Page(KvPool::kSliding, 4)});
  EXPECT_THAT(Await(1), ElementsAre(false));
  EXPECT_EQ(puller_->faults(PullFault::kUnreachable), 1);
  service.Hold(false);
  EXPECT_THAT(Await(1), ElementsAre(true));
}

// Given a bad request, expect the server to say which field.
TEST_F(PagePullTest, ServerNamesTheField) {
  PageService service;
  LoopbackServer server(&service);
  const auto stub = v1::Worker::NewStub(
      grpc::CreateChannel(server.address(), grpc::InsecureChannelCredentials()));
  v1::PullPagesRequest request;
  request.set_label(kLabel);
  request.set_full_keys("abc");
  const auto refusal = [&] {
    grpc::ClientContext context;
    v1::PullPagesReply reply;
    const auto reader = stub->PullPages(&context, request);
    EXPECT_FALSE(reader->Read(&reply));
    return reader->Finish();
  };
  grpc::Status status = refusal();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("full_keys has 3 bytes"));
  request.set_full_keys(std::string(16, 'k'));
  request.set_label("another");
  status = refusal();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), HasSubstr("'another'"));
}

class FewPullsTest : public PagePullTest {
 protected:
  static PagePullerOptions Options() {
    PagePullerOptions options = WithPages(PagePullerOptions());
    options.pulls_max = 1;
    options.peers_max = 1;
    return options;
  }
  FewPullsTest() : PagePullTest(Options()) {}
};

// Given room for one pull and one connection, expect a second pull to miss its pages, and a second
// worker to take the place of one that is not in use.
TEST_F(FewPullsTest, KeepsItsBounds) {
  PageService a, b;
  LoopbackServer server_a(&a), server_b(&b);
  a.Hold(true);
  Begin(server_a.address(), {Page(KvPool::kSliding, 2)});
  ASSERT_TRUE(a.AwaitQueued());
  EXPECT_THAT(Pull(server_b.address(), {Page(KvPool::kSliding, 4)}), ElementsAre(false));
  a.Hold(false);
  EXPECT_THAT(Await(1), ElementsAre(true));
  // The call that has ended is let go of a moment after its last page.
  AwaitTrue([&]() -> bool { return Pull(server_b.address(), {Page(KvPool::kSliding, 4)})[0]; });
}

}  // namespace
}  // namespace facet
