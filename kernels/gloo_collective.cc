#include "kernels/gloo_collective.h"

#include <gloo/transport/context.h>
#include <gloo/transport/tcp/device.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <exception>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "kernels/ticker.h"

namespace facet {
namespace {

namespace transport = gloo::transport;

constexpr std::chrono::milliseconds kConnectTimeout = std::chrono::minutes(1);
// Waits are ended by our own timer: Gloo's timeouts close connections under locks that another
// thread's transfer may hold the other way around. This stands for one without end.
constexpr std::chrono::hours kNoTimeout(24 * 365);
// The timer looks this often.
constexpr std::chrono::milliseconds kTimerInterval(50);
using Clock = std::chrono::steady_clock;
// A sum gathers the parts of all ranks, this much of each at a time.
constexpr int64_t kPartFloats = int64_t{1} << 18;

class GlooCollective final : public Collective {
 public:
  GlooCollective(std::shared_ptr<transport::Context> context, const CollectiveOptions& options)
      : context_(std::move(context)),
        timeout_(options.timeout),
        failure_(options.on_failure),
        watcher_(absl::ToChronoMilliseconds(kRankBeatInterval), [this] { return Beat(); }),
        timer_(kTimerInterval, [this] { return EndLateWaits(); }) {}
  ~GlooCollective() override;

  int rank() const override { return context_->rank; }
  int size() const override { return context_->size; }
  absl::Status AllReduceSum(float* x, int64_t count) override;
  absl::Status AllGather(const void* own, int64_t bytes, void* out) override;
  absl::Status Broadcast(void* data, int64_t bytes) override;
  absl::Status Barrier() override;
  void Abort(const absl::Status& reason) override { Fail(reason); }
  void Leave() override { failure_.Leave(); }

 private:
  using Buffer = std::unique_ptr<transport::UnboundBuffer>;
  // What goes to or comes from one rank.
  struct Part {
    int rank;
    void* data;
    int64_t bytes;
  };

  // Sends and receives all of these. Messages that belong together have one `tag` on both ends.
  absl::Status Exchange(uint64_t tag, const std::vector<Part>& sends,
                        const std::vector<Part>& receives, absl::Duration timeout);
  // The calls' tags are even, the beats' odd.
  uint64_t NextTag() { return turn_ += 2; }
  // What is under way ends, and so does what comes.
  void Fail(const absl::Status& reason) ABSL_LOCKS_EXCLUDED(mutex_);
  // The transfer is over, one way or the other.
  void Forget(const transport::UnboundBuffer& buffer) ABSL_LOCKS_EXCLUDED(mutex_);
  // Exchanges beats with all others; false: one has none.
  bool Beat();
  // Fails when a transfer is past its deadline.
  bool EndLateWaits() ABSL_LOCKS_EXCLUDED(mutex_);

  const std::shared_ptr<transport::Context> context_;  // shared with Gloo's buffers
  const absl::Duration timeout_;
  uint64_t turn_ = 0;
  std::vector<float> gathered_;  // of a sum
  GroupFailure failure_;
  uint64_t beats_ = 0;  // the watcher's
  absl::Mutex mutex_;
  // Transfers that are waited for, by any thread.
  struct Pending {
    transport::UnboundBuffer* buffer;
    int rank;
    Clock::time_point deadline;
  };
  std::vector<Pending> pending_ ABSL_GUARDED_BY(mutex_);
  Ticker watcher_, timer_;  // the last, so that they see the others
};

GlooCollective::~GlooCollective() {
  Leave();
  Fail(absl::CancelledError("this rank has left"));
}

void GlooCollective::Fail(const absl::Status& reason) {
  failure_.Set(reason);
  absl::MutexLock lock(&mutex_);
  for (const Pending& pending : pending_) {
    pending.buffer->abortWaitRecv();
    pending.buffer->abortWaitSend();
  }
}

absl::Status GlooCollective::Exchange(uint64_t tag, const std::vector<Part>& sends,
                                      const std::vector<Part>& receives, absl::Duration timeout) {
  std::vector<Buffer> buffers;  // of the receives, then of the sends
  const auto rank_of = [&](size_t i) {
    return i < receives.size() ? receives[i].rank : sends[i - receives.size()].rank;
  };
  bool completed = true;
  int peer = 0;
  std::string problem = "the group was ended";
  try {
    for (const Part& part : receives) {
      peer = part.rank;
      buffers.push_back(context_->createUnboundBuffer(part.data, part.bytes));
      buffers.back()->recv(part.rank, tag);
    }
    for (const Part& part : sends) {
      peer = part.rank;
      buffers.push_back(context_->createUnboundBuffer(part.data, part.bytes));
      buffers.back()->send(part.rank, tag);
    }
    const Clock::time_point deadline =
        Clock::now() + absl::ToChronoMilliseconds(std::min(timeout, absl::FromChrono(kNoTimeout)));
    {
      absl::MutexLock lock(&mutex_);
      for (size_t i = 0; i < buffers.size(); ++i) {
        pending_.push_back({buffers[i].get(), rank_of(i), deadline});
      }
    }
    // Looked at after the buffers can be aborted, so that no failure comes between.
    completed = !failure_.failed();
    for (size_t i = 0; completed && i < buffers.size(); ++i) {
      peer = rank_of(i);
      completed = i < receives.size() ? buffers[i]->waitRecv(nullptr, kNoTimeout)
                                      : buffers[i]->waitSend(nullptr, kNoTimeout);
      if (completed) Forget(*buffers[i]);
    }
  } catch (const std::exception& error) {
    completed = false;
    problem = error.what();
  }
  if (completed) return absl::OkStatus();
  for (const Buffer& buffer : buffers) Forget(*buffer);
  Fail(absl::UnavailableError(absl::StrCat("the connection to rank ", peer, ": ", problem)));
  return failure_.status();
}

void GlooCollective::Forget(const transport::UnboundBuffer& buffer) {
  absl::MutexLock lock(&mutex_);
  std::erase_if(pending_, [&](const Pending& pending) { return pending.buffer == &buffer; });
}

bool GlooCollective::Beat() {
  uint8_t own = 0, others[kRanksMax];
  std::vector<Part> sends, receives;
  for (int i = 0; i < size(); ++i) {
    if (i == rank()) continue;
    sends.push_back({i, &own, 1});
    receives.push_back({i, &others[i], 1});
  }
  // The others may connect later than this one.
  const absl::Duration patience = beats_ == 0 ? absl::FromChrono(kConnectTimeout) : kRankSilenceMax;
  return Exchange(2 * beats_++ + 1, sends, receives, patience).ok();
}

bool GlooCollective::EndLateWaits() {
  int late = -1;
  {
    absl::MutexLock lock(&mutex_);
    const Clock::time_point now = Clock::now();
    for (const Pending& pending : pending_) {
      if (pending.deadline < now) late = pending.rank;
    }
  }
  if (late >= 0) Fail(absl::UnavailableError(absl::StrCat("rank ", late, " does not answer")));
  return true;
}

absl::Status GlooCollective::AllGather(const void* own, int64_t bytes, void* out) {
  std::vector<Part> sends, receives;
  auto* const all = static_cast<uint8_t*>(out);
  std::memcpy(all + rank() * bytes, own, bytes);
  for (int i = 0; i < size(); ++i) {
    if (i == rank()) continue;
    sends.push_back({i, all + rank() * bytes, bytes});
    receives.push_back({i, all + i * bytes, bytes});
  }
  return Exchange(NextTag(), sends, receives, timeout_);
}

absl::Status GlooCollective::AllReduceSum(float* x, int64_t count) {
  gathered_.resize(size() * std::min(count, kPartFloats));
  for (int64_t done = 0; done < count; done += kPartFloats) {
    const int64_t floats = std::min(kPartFloats, count - done);
    const int64_t bytes = floats * static_cast<int64_t>(sizeof(float));
    RETURN_IF_ERROR(AllGather(x + done, bytes, gathered_.data()));
    std::memcpy(x + done, gathered_.data(), bytes);
    for (int i = 1; i < size(); ++i) AddInPlace(x + done, &gathered_[i * floats], floats);
  }
  return absl::OkStatus();
}

absl::Status GlooCollective::Broadcast(void* data, int64_t bytes) {
  if (rank() != 0) {
    return Exchange(NextTag(), {}, {{0, data, bytes}}, absl::InfiniteDuration());
  }
  std::vector<Part> sends;
  for (int i = 1; i < size(); ++i) sends.push_back({i, data, bytes});
  return Exchange(NextTag(), sends, {}, timeout_);
}

absl::Status GlooCollective::Barrier() {
  uint8_t all[kRanksMax] = {};
  const uint8_t own = 0;
  return AllGather(&own, 1, all);
}

class TcpMesh final : public GlooMesh {
 public:
  explicit TcpMesh(std::shared_ptr<transport::Context> context) : context_(std::move(context)) {
    context_->setTimeout(kConnectTimeout);
    for (int i = 0; i < context_->size; ++i) {
      addresses_.emplace_back();
      if (i == context_->rank) continue;
      const std::vector<char> bytes = context_->createPair(i)->address().bytes();
      addresses_.back().assign(bytes.begin(), bytes.end());
    }
  }

  const std::vector<std::string>& addresses() const override { return addresses_; }

  absl::StatusOr<std::unique_ptr<Collective>> BlockingConnect(
      const std::vector<std::string>& addresses, const CollectiveOptions& options) override {
    CHECK_EQ(addresses.size(), addresses_.size());
    for (int i = 0; i < context_->size; ++i) {
      if (i == context_->rank) continue;
      if (addresses[i].size() != addresses_[i].size()) {
        return absl::InvalidArgumentError(absl::StrCat("the address of rank ", i, " is malformed"));
      }
      try {
        context_->getPair(i)->connect({addresses[i].begin(), addresses[i].end()});
      } catch (const std::exception& error) {
        return absl::UnavailableError(
            absl::StrCat("rank ", i, " cannot be reached: ", error.what()));
      }
    }
    return std::make_unique<GlooCollective>(std::move(context_), options);
  }

 private:
  std::shared_ptr<transport::Context> context_;  // shared with Gloo's buffers
  std::vector<std::string> addresses_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<GlooMesh>> GlooMesh::Listen(int rank, int size,
                                                           const std::string& host) {
  if (size < 2 || size > kRanksMax || rank < 0 || rank >= size) {
    return absl::InvalidArgumentError(
        absl::StrCat("rank ", rank, " of ", size, " is none of a group"));
  }
  try {
    transport::tcp::attr where(host.c_str());
    return std::make_unique<TcpMesh>(
        transport::tcp::CreateDevice(where)->createContext(rank, size));
  } catch (const std::exception& error) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen for the group at ", host, ": ", error.what()));
  }
}

}  // namespace facet
