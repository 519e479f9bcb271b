#include "worker/page_puller.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "grpcpp/grpcpp.h"
#include "proto/worker.grpc.pb.h"
#include "worker/page_wire.h"

namespace facet {
namespace {

constexpr int kIdleConnectionMs = 60'000;
// A worker that hangs or whose host has vanished is noticed in 4 s; one that only computes is not
// taken for that.
constexpr int kKeepaliveMs = 2'000, kKeepaliveTimeoutMs = 2'000;
// A worker that was started again is reached as soon as it may be asked again.
constexpr int kReconnectBackoffMs = 1'000;
constexpr const char* kFaultNames[] = {"unreachable", "late", "foreign", "corrupt", "torn"};
static_assert(std::size(kFaultNames) == kPullFaultKinds, "each kind has a name");

PullFault FaultOf(const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::StatusCode::OK:
      return PullFault::kTorn;
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return PullFault::kLate;
    case grpc::StatusCode::FAILED_PRECONDITION:
    case grpc::StatusCode::INVALID_ARGUMENT:
    case grpc::StatusCode::UNIMPLEMENTED:
      return PullFault::kForeign;
    default:
      return PullFault::kUnreachable;
  }
}

}  // namespace

struct PagePuller::Peer {
  explicit Peer(const std::string& address) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_CLIENT_IDLE_TIMEOUT_MS, kIdleConnectionMs);
    arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
    arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
    arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kReconnectBackoffMs);
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    stub = v1::Worker::NewStub(
        grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments));
  }
  std::unique_ptr<v1::Worker::Stub> stub;
  int calls = 0;
  absl::Time last_used = absl::InfinitePast();
  absl::Time paused_until = absl::InfinitePast();
};

// One pull. Belongs to the puller until gRPC is done with it; its own state is that of the thread
// which reads.
class PagePuller::Call final : public grpc::ClientReadReactor<v1::PullPagesReply> {
 public:
  Call(PagePuller* puller, uint64_t number, std::string address, Peer* peer,
       std::vector<PageCopy> pages, absl::Time begin)
      : number(number),
        address(std::move(address)),
        peer(peer),
        begin(begin),
        puller_(*puller),
        pages_(std::move(pages)) {}

  void Begin(absl::Duration timeout) {
    std::vector<PoolKey> keys;
    for (const PageCopy& page : pages_) keys.push_back(page.key);
    request_ = MakePullRequest(puller_.options_.format.label, keys);
    context_.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
    peer->stub->async()->PullPages(&context_, &request_, this);
    StartRead(&reply_);
    StartCall();
  }
  // By any thread.
  void Cancel() { context_.TryCancel(); }

  void OnReadDone(bool ok) override {
    if (!ok) return;
    if (!Take()) {
      wrong_ = true;
      return context_.TryCancel();
    }
    StartRead(&reply_);
  }
  void OnDone(const grpc::Status& status) override {
    if (wrong_) {
      fault = PullFault::kCorrupt;
      what = absl::StrCat("page ", next_, " does not come as it should");
    } else if (!status.ok() || next_ < pages_.size()) {
      fault = FaultOf(status);
      what = status.error_message();
    }
    puller_.End(*this);
  }

  absl::Span<const PageCopy> missed() const { return absl::MakeSpan(pages_).subspan(next_); }

  const uint64_t number;
  const std::string address;
  Peer* const peer;
  const absl::Time begin;
  int64_t bytes = 0;               // that came
  std::optional<PullFault> fault;  // set when it has ended
  std::string what;                // with it
  bool cancelled = false;          // under the puller's lock

 private:
  // False: the piece is not the one that was to come.
  bool Take() {
    if (next_ == pages_.size() || reply_.page() != next_) return false;
    const PageCopy& page = pages_[next_];
    if (reply_.absent()) {
      if (offset_ > 0) return false;
      puller_.Complete(page, /*ok=*/false);
      ++next_;
      return true;
    }
    const std::string& piece = reply_.data();
    const int64_t page_bytes = puller_.options_.format.bytes(page.key.first);
    const auto piece_bytes = static_cast<int64_t>(piece.size());
    if (piece.empty() || reply_.offset() != static_cast<uint64_t>(offset_) ||
        piece_bytes > page_bytes - offset_ ||
        reply_.sha256() != DigestOfPiece(page.key, offset_, piece)) {
      return false;
    }
    std::memcpy(page.memory + offset_, piece.data(), piece.size());
    offset_ += piece_bytes;
    bytes += piece_bytes;
    if (offset_ < page_bytes) return true;
    puller_.Complete(page, /*ok=*/true);
    ++next_;
    offset_ = 0;
    return true;
  }

  PagePuller& puller_;
  std::vector<PageCopy> pages_;
  grpc::ClientContext context_;
  v1::PullPagesRequest request_;
  v1::PullPagesReply reply_;
  size_t next_ = 0;     // page that comes
  int64_t offset_ = 0;  // of it, what has come
  bool wrong_ = false;
};

PagePuller::PagePuller(PagePullerOptions options) : options_(std::move(options)) {}

PagePuller::~PagePuller() { BlockingStop(); }

void PagePuller::Start(std::function<void()> on_completed) {
  on_completed_ = std::move(on_completed);
}

PagePuller::Peer* PagePuller::PeerAt(const std::string& address) {
  const auto found = peers_.find(address);
  if (found != peers_.end()) {
    return options_.clock() < found->second->paused_until ? nullptr : found->second.get();
  }
  if (static_cast<int>(peers_.size()) >= options_.peers_max) {
    auto oldest = peers_.end();
    for (auto at = peers_.begin(); at != peers_.end(); ++at) {
      if (at->second->calls > 0) continue;
      if (oldest == peers_.end() || at->second->last_used < oldest->second->last_used) oldest = at;
    }
    if (oldest == peers_.end()) return nullptr;
    // On the engine's thread: a connection must not end on one of gRPC's.
    peers_.erase(oldest);
  }
  return peers_.emplace(address, std::make_unique<Peer>(address)).first->second.get();
}

uint64_t PagePuller::Pull(const std::string& address, std::vector<PageCopy> pages,
                          absl::Duration timeout) {
  Call* call = nullptr;
  uint64_t number;
  {
    absl::MutexLock lock(&mutex_);
    number = ++last_pull_;
    Peer* const peer =
        static_cast<int>(calls_.size()) < options_.pulls_max ? PeerAt(address) : nullptr;
    if (peer != nullptr) {
      ++peer->calls;
      peer->last_used = options_.clock();
      call = (calls_[number] = std::make_unique<Call>(this, number, address, peer, std::move(pages),
                                                      peer->last_used))
                 .get();
    } else {
      for (PageCopy& page : pages) AddCompleted(page, /*ok=*/false);
    }
  }
  if (call != nullptr) {
    call->Begin(timeout);
  } else if (on_completed_) {
    on_completed_();
  }
  return number;
}

void PagePuller::Cancel(uint64_t pull) {
  absl::MutexLock lock(&mutex_);
  const auto found = calls_.find(pull);
  if (found == calls_.end()) return;
  found->second->cancelled = true;
  found->second->Cancel();
}

std::vector<PageCopy> PagePuller::TakeCompleted() {
  absl::MutexLock lock(&mutex_);
  return std::exchange(completed_, {});
}

void PagePuller::BlockingStop() {
  absl::MutexLock lock(&mutex_);
  for (auto& [number, call] : calls_) {
    call->cancelled = true;
    call->Cancel();
  }
  const auto ended = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return calls_.empty(); };
  mutex_.Await(absl::Condition(&ended));
}

double PagePuller::bytes_per_s() const {
  absl::MutexLock lock(&mutex_);
  return options_.clock() - measured_ > options_.rate_kept ? 0 : rate_.per_s();
}

PeerStats PagePuller::stats() const {
  absl::MutexLock lock(&mutex_);
  return stats_;
}

int64_t PagePuller::faults(PullFault kind) const {
  absl::MutexLock lock(&mutex_);
  return faults_[static_cast<int>(kind)];
}

void PagePuller::Complete(PageCopy page, bool ok) {
  {
    absl::MutexLock lock(&mutex_);
    AddCompleted(page, ok);
  }
  if (on_completed_) on_completed_();
}

void PagePuller::AddCompleted(PageCopy page, bool ok) {
  page.ok = ok;
  completed_.push_back(page);
  if (ok) {
    ++stats_.pages;
    stats_.bytes += options_.format.bytes(page.key.first);
  } else {
    ++stats_.missed;
  }
}

void PagePuller::End(Call& call) {
  {
    absl::MutexLock lock(&mutex_);
    for (const PageCopy& page : call.missed()) AddCompleted(page, /*ok=*/false);
    const absl::Time now = options_.clock();
    // What nobody waited for any more says nothing, nor does a worker that sent nothing.
    if (call.bytes > 0 && !call.cancelled) {
      rate_.Add(static_cast<double>(call.bytes), now - call.begin);
      measured_ = now;
    }
    if (call.fault.has_value() && !call.cancelled) {
      call.peer->paused_until = now + options_.failed_peer_pause;
      CountFault(*call.fault, call.address, call.what);
    }
  }
  if (on_completed_) on_completed_();
  // The call ends before the puller may: whoever stops it waits for this.
  absl::MutexLock lock(&mutex_);
  const auto found = calls_.find(call.number);
  Peer* const peer = call.peer;
  calls_.erase(found);
  --peer->calls;
}

void PagePuller::CountFault(PullFault kind, absl::string_view address, absl::string_view what) {
  if (++faults_[static_cast<int>(kind)] > 1) return;
  LogWarning("pages could not be pulled and will be computed; more of this kind are only counted",
             {{"kind", kFaultNames[static_cast<int>(kind)]}, {"worker", address}, {"what", what}});
}

}  // namespace facet
