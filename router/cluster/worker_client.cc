#include "router/cluster/worker_client.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <array>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <deque>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "base/check.h"
#include "base/log.h"
#include "base/sha256.h"
#include "proto/worker.grpc.pb.h"
#include "router/cluster/worker_load.h"

namespace facet {
namespace {

// Describe holds the vocabulary.
constexpr int kMessageBytesMax = 64 << 20;
// As proto/worker.proto says of MediaChunk.
constexpr size_t kMediaChunkBytesMax = 1 << 20;

// Events that listeners get at once, under the client's lock: a snapshot may have millions, and
// requests wait for that lock.
constexpr size_t kEventsAtOnce = 1024;

// Equal in all routers: the first 8 bytes of a SHA-256. Never 0.
uint64_t NumberOf(const std::string& text) {
  const std::array<uint8_t, kSha256Bytes> digest = Sha256Of(text);
  uint64_t number = 0;
  for (int i = 0; i < 8; ++i) number = number << 8 | digest[i];
  return std::max<uint64_t>(1, number);
}

absl::Status ToAbsl(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

class Client;

// One Session call. Owned by shared_ptr: the client holds it while it is the current one, gRPC
// until OnDone.
class SessionCall final : public grpc::ClientBidiReactor<v1::SessionRequest, v1::SessionReply>,
                          public std::enable_shared_from_this<SessionCall> {
 public:
  SessionCall(Client& client, uint64_t attempt) : client_(client), attempt_(attempt) {}

  void Begin(v1::Worker::Stub& stub) {
    self_ = shared_from_this();
    stub.async()->Session(&context_, this);
    StartRead(&reply_);
    // Held until the last write, so that the call does not end between two.
    AddHold();
    StartCall();
  }

  // A picture or sound on its way to the worker.
  struct MediaToSend {
    uint64_t stream_id;
    uint32_t index;
    std::shared_ptr<const LoadedMedia> owner;  // Shared with the stream.
    const std::string* data;                   // The owner's.
    size_t sent = 0;
  };

  // False when too many wait.
  bool Write(v1::SessionRequest request, size_t messages_max);
  // Sends it piece by piece, after all other messages.
  void WriteMedia(MediaToSend media);
  // The stream has ended.
  void DropMedia(uint64_t stream_id);
  void End() { context_.TryCancel(); }

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

 private:
  // Lets the call end; no Write may follow.
  void StopWriting() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WriteNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Client& client_;
  const uint64_t attempt_;
  grpc::ClientContext context_;
  v1::SessionReply reply_;
  std::shared_ptr<SessionCall> self_;  // Until OnDone.

  absl::Mutex mutex_;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  v1::SessionRequest sent_;  // Being written, while writing_.
  std::deque<v1::SessionRequest> outbox_ ABSL_GUARDED_BY(mutex_);
  std::deque<MediaToSend> media_ ABSL_GUARDED_BY(mutex_);  // Sent while the outbox is empty.
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;             // Nothing more can be read.
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;           // The hold was removed.
};

// One Watch call; owned as SessionCall is. Begins anew, beside the session, where its news have a
// gap: then all pages are told again.
class WatchCall final : public grpc::ClientReadReactor<v1::WatchReply>,
                        public std::enable_shared_from_this<WatchCall> {
 public:
  WatchCall(Client& client, uint64_t attempt) : client_(client), attempt_(attempt) {}

  void Begin(v1::Worker::Stub& stub) {
    self_ = shared_from_this();
    stub.async()->Watch(&context_, &request_, this);
    StartRead(&reply_);
    StartCall();
  }
  void End() { context_.TryCancel(); }

  void OnReadDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

 private:
  Client& client_;
  const uint64_t attempt_;
  grpc::ClientContext context_;
  v1::WatchRequest request_;
  v1::WatchReply reply_;
  uint64_t sequence_ = 0;            // Of the last message.
  absl::Status fault_;               // Why it was ended here.
  std::shared_ptr<WatchCall> self_;  // Until OnDone.
};

// One Describe call; the client's until it is done.
struct DescribeCall {
  grpc::ClientContext context;
  v1::DescribeRequest request;
  v1::DescribeReply reply;
};

// One LoadAdapter or UnloadAdapter call; the client's until it is done.
struct AdapterCall {
  grpc::ClientContext context;
  v1::LoadAdapterRequest load;
  v1::LoadAdapterReply loaded;
  v1::UnloadAdapterRequest unload;
  v1::UnloadAdapterReply unloaded;
  WorkerClient::Done done;
};

// What a worker says of its load, held to what can be: so that sums of it do not overflow, and
// times are numbers. A rate that is none counts as not measured.
v1::Load Plausible(v1::Load load) {
  constexpr uint32_t kRequestsMax = 1 << 20;
  constexpr uint64_t kTokensMax = uint64_t{1} << 40;
  constexpr double kRateMin = 1e-9, kRateMax = 1e15;
  const auto rate = [](double value) { return value >= kRateMin && value <= kRateMax ? value : 0; };
  load.set_running_requests(std::min(load.running_requests(), kRequestsMax));
  load.set_waiting_requests(std::min(load.waiting_requests(), kRequestsMax));
  load.set_prefill_tokens_waiting(std::min(load.prefill_tokens_waiting(), kTokensMax));
  load.set_prefill_tokens_per_s(rate(load.prefill_tokens_per_s()));
  load.set_decode_step_s(rate(load.decode_step_s()));
  load.set_decode_row_s(rate(load.decode_row_s()));
  load.set_peer_bytes_per_s(rate(load.peer_bytes_per_s()));
  return load;
}

// The same adapters as `load` has.
bool SameAdapters(const AdapterDigests* known, const v1::Load& load) {
  if (known == nullptr) return load.adapters().empty();
  if (static_cast<int>(known->size()) != load.adapters_size()) return false;
  return absl::c_all_of(load.adapters(), [&](const v1::AdapterInfo& info) {
    const auto found = known->find(info.name());
    return found != known->end() && found->second == info.digest();
  });
}

class Client final : public WorkerClient {
 public:
  Client(boost::asio::io_context& context, std::string address, WorkerClientOptions options,
         Listeners listeners, RouterMetrics& metrics)
      : context_(context),
        address_(std::move(address)),
        address_digest_(NumberOf(address_)),
        options_(options),
        listeners_(std::move(listeners)),
        metrics_(metrics),
        worker_metrics_(metrics, address_),
        retry_timer_(context) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, options_.keepalive_ms);
    arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, options_.keepalive_timeout_ms);
    arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
    arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, options_.backoff_ms_min);
    arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, options_.backoff_ms_min);
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, options_.backoff_ms_max);
    // Each worker has its own connection, also where two clients in one process have one address.
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetMaxReceiveMessageSize(kMessageBytesMax);
    stub_ = v1::Worker::NewStub(
        grpc::CreateCustomChannel(address_, grpc::InsecureChannelCredentials(), arguments));
  }

  ~Client() override {
    {
      absl::MutexLock lock(&mutex_);
      stopping_ = true;
      EndCalls();
    }
    boost::asio::post(context_, [this] {
      absl::MutexLock lock(&mutex_);
      boost::system::error_code ignored;
      retry_timer_.cancel(ignored);
      timer_cancelled_ = true;
    });
    absl::MutexLock lock(&mutex_);
    const auto quiet = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
      return timer_cancelled_ && calls_ == 0 && posted_ == 0;
    };
    mutex_.Await(absl::Condition(&quiet));
  }

  const std::string& address() const override { return address_; }
  WorkerSnapshot Snapshot() const override;
  double SilentS() const override ABSL_LOCKS_EXCLUDED(mutex_);
  void GiveUp(const std::string& reason) override ABSL_LOCKS_EXCLUDED(mutex_);
  void CountElsewhere(uint32_t prefill_tokens) override ABSL_LOCKS_EXCLUDED(mutex_);
  std::shared_ptr<const AdapterDigests> adapters() const override {
    absl::MutexLock lock(&mutex_);
    return ready_ ? adapters_ : nullptr;
  }
  absl::StatusOr<uint64_t> Start(const v1::GenerateRequest& request, const v1::KvSource& source,
                                 uint32_t prefill_tokens, std::shared_ptr<const LoadedMedia> media,
                                 std::shared_ptr<Mailbox> mailbox) override;
  void Cancel(uint64_t stream_id) override;
  void LoadAdapter(const std::string& name, const std::string& path, Done done) override;
  void UnloadAdapter(const std::string& name, Done done) override;

  // Begins a try to connect.
  void Try();

  // From the calls, on gRPC's threads.
  void OnOutputs(uint64_t attempt, v1::SessionReply& reply);
  // `first`: of a Watch; what was told before no longer counts.
  void OnLoad(uint64_t attempt, const v1::Load& load, bool first);
  void OnPages(uint64_t attempt, absl::Span<const PageEvent> events);
  void OnCallDone(uint64_t attempt, const absl::Status& status);
  // DATA_LOSS or ABORTED: only its news are lost.
  void OnWatchDone(uint64_t attempt, const absl::Status& status);

 private:
  void OnDescribed(uint64_t attempt, const absl::Status& status);
  // On the context's thread: building a vocabulary takes too long for one of gRPC's.
  void Judge(uint64_t attempt, const v1::DescribeReply& description);
  // A call that was begun; null if the worker is not ready, which `done` then hears.
  AdapterCall* NewAdapterCall(Done done, uint64_t* id) ABSL_LOCKS_EXCLUDED(mutex_);
  void OnAdapterCallDone(uint64_t id, const absl::Status& status) ABSL_LOCKS_EXCLUDED(mutex_);
  void SendMedia(const v1::SessionReply::NeedMedia& need) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Ends the current try and plans the next.
  void Lose(uint64_t attempt, const absl::Status& reason, int wait_ms_min = 0)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void BeginWatch() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ForgetPages() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void EndCalls() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void FailStreams(const absl::Status& reason) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RetryAfter(int ms) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Posts work to the context; the destructor waits for it.
  template <typename Work>
  void Post(Work work) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    ++posted_;
    boost::asio::post(context_, [this, work = std::move(work)] {
      work();
      absl::MutexLock lock(&mutex_);
      --posted_;
    });
  }

  boost::asio::io_context& context_;
  const std::string address_;
  const uint64_t address_digest_;
  const WorkerClientOptions options_;
  const Listeners listeners_;
  RouterMetrics& metrics_;
  WorkerMetrics worker_metrics_;
  std::unique_ptr<v1::Worker::Stub> stub_;

  mutable absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool timer_cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  int calls_ ABSL_GUARDED_BY(mutex_) = 0;   // That gRPC still knows.
  int posted_ ABSL_GUARDED_BY(mutex_) = 0;  // That the context still knows.
  boost::asio::steady_timer retry_timer_ ABSL_GUARDED_BY(mutex_);
  int backoff_ms_ ABSL_GUARDED_BY(mutex_) = 0;
  int given_up_ms_ ABSL_GUARDED_BY(mutex_) = 0;  // The last such pause; 0: it answered since.
  std::chrono::steady_clock::time_point heard_ ABSL_GUARDED_BY(mutex_);
  std::string logged_ ABSL_GUARDED_BY(mutex_);  // The trouble last logged, to log it once.

  // The current try. Callbacks of an earlier one are ignored by its number.
  uint64_t attempt_ ABSL_GUARDED_BY(mutex_) = 0;
  bool active_ ABSL_GUARDED_BY(mutex_) = false;
  bool ready_ ABSL_GUARDED_BY(mutex_) = false;
  std::unique_ptr<DescribeCall> describe_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<SessionCall> session_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<WatchCall> watch_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<uint64_t, std::unique_ptr<AdapterCall>> adapter_calls_
      ABSL_GUARDED_BY(mutex_);
  uint64_t next_adapter_call_ ABSL_GUARDED_BY(mutex_) = 1;

  uint32_t capacity_ ABSL_GUARDED_BY(mutex_) = 0;
  uint32_t running_max_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t numerics_class_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t full_page_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t sliding_page_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  WorkerLoad load_ ABSL_GUARDED_BY(mutex_);
  // While it is ready, else null. Shared by those who asked.
  std::shared_ptr<const AdapterDigests> adapters_ ABSL_GUARDED_BY(mutex_);
  std::chrono::steady_clock::time_point watch_begun_ ABSL_GUARDED_BY(mutex_);
  bool pages_told_ ABSL_GUARDED_BY(mutex_) = false;
  uint64_t next_stream_id_ ABSL_GUARDED_BY(mutex_) = 1;
  struct Stream {
    uint32_t prefill_tokens = 0;               // 0 once the answer has begun.
    std::shared_ptr<Mailbox> mailbox;          // Shared with the relay.
    std::shared_ptr<const LoadedMedia> media;  // Shared with the relays; null: none.
  };
  using StreamMap = absl::flat_hash_map<uint64_t, Stream>;
  StreamMap streams_ ABSL_GUARDED_BY(mutex_);

  // Its prompt needs no computing any more. True if it did.
  bool PromptDone(Stream& stream) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    load_.OnAnswerBegun(stream.prefill_tokens);
    return std::exchange(stream.prefill_tokens, 0) > 0;
  }
  void Erase(StreamMap::iterator stream) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    PromptDone(stream->second);
    load_.OnEnd();
    streams_.erase(stream);
  }
};

// ---------------------------------------------------------------- the three calls

bool SessionCall::Write(v1::SessionRequest request, size_t messages_max) {
  absl::MutexLock lock(&mutex_);
  if (stopped_) return true;  // The client hears of the end from OnDone.
  if (outbox_.size() >= messages_max) return false;
  outbox_.push_back(std::move(request));
  if (!writing_) WriteNext();
  return true;
}

void SessionCall::WriteMedia(MediaToSend media) {
  absl::MutexLock lock(&mutex_);
  if (stopped_) return;
  media_.push_back(std::move(media));
  if (!writing_) WriteNext();
}

void SessionCall::DropMedia(uint64_t stream_id) {
  absl::MutexLock lock(&mutex_);
  media_.erase(
      std::remove_if(media_.begin(), media_.end(),
                     [&](const MediaToSend& media) { return media.stream_id == stream_id; }),
      media_.end());
}

void SessionCall::WriteNext() {
  writing_ = true;
  if (!outbox_.empty()) {
    sent_ = std::move(outbox_.front());
    outbox_.pop_front();
    return StartWrite(&sent_);
  }
  if (media_.empty()) {
    writing_ = false;
    return;
  }
  MediaToSend& media = media_.front();
  v1::SessionRequest::MediaChunk& chunk = *sent_.mutable_media_chunk();
  chunk.set_stream_id(media.stream_id);
  chunk.set_media(media.index);
  chunk.set_data(media.data->substr(media.sent, kMediaChunkBytesMax));
  media.sent += chunk.data().size();
  const bool last = media.sent == media.data->size();
  chunk.set_last(last);
  if (last) media_.pop_front();
  StartWrite(&sent_);
}

void SessionCall::StopWriting() {
  if (stopped_) return;
  stopped_ = true;
  outbox_.clear();
  media_.clear();
  RemoveHold();
}

void SessionCall::OnReadDone(bool ok) {
  if (!ok) {
    absl::MutexLock lock(&mutex_);
    // A write that is under way ends with an error and then stops.
    if (!writing_) StopWriting();
    ended_ = true;
    return;
  }
  client_.OnOutputs(attempt_, reply_);
  StartRead(&reply_);
}

void SessionCall::OnWriteDone(bool ok) {
  absl::MutexLock lock(&mutex_);
  writing_ = false;
  if (!ok || ended_) return StopWriting();
  WriteNext();
}

// A call's context holds the channel, and the last owner of a channel must not let go of it on one
// of gRPC's threads, which would then wait for itself. So a call is gone before the client, whose
// stub is that last owner, hears that it is done.
void SessionCall::OnDone(const grpc::Status& status) {
  Client& client = client_;
  const uint64_t attempt = attempt_;
  const absl::Status reason = ToAbsl(status);
  self_.reset();
  client.OnCallDone(attempt, reason);
}

void WatchCall::OnReadDone(bool ok) {
  if (!ok) return;
  const bool first = sequence_ == 0;
  absl::StatusOr<std::vector<PageEvent>> events = ParsePageEvents(reply_.page_events());
  if (!events.ok()) {
    fault_ = events.status();
  } else if (reply_.sequence() != ++sequence_) {
    fault_ = absl::DataLossError(
        absl::StrCat("after news ", sequence_ - 1, " came ", reply_.sequence()));
  }
  if (!fault_.ok()) return context_.TryCancel();
  client_.OnLoad(attempt_, reply_.load(), first);
  client_.OnPages(attempt_, *events);
  StartRead(&reply_);
}

void WatchCall::OnDone(const grpc::Status& status) {
  Client& client = client_;
  const uint64_t attempt = attempt_;
  const absl::Status reason = fault_.ok() ? ToAbsl(status) : fault_;
  self_.reset();
  client.OnWatchDone(attempt, reason);
}

// ---------------------------------------------------------------------- requests

WorkerSnapshot Client::Snapshot() const {
  absl::MutexLock lock(&mutex_);
  WorkerSnapshot snapshot;
  snapshot.address = address_;
  snapshot.address_digest = address_digest_;
  snapshot.ready = ready_;
  load_.AddTo(snapshot);
  snapshot.capacity = capacity_;
  snapshot.running_max = running_max_;
  snapshot.numerics_class = numerics_class_;
  snapshot.full_page_bytes = full_page_bytes_;
  snapshot.sliding_page_bytes = sliding_page_bytes_;
  return snapshot;
}

double Client::SilentS() const {
  absl::MutexLock lock(&mutex_);
  if (!ready_ || streams_.empty()) return 0;
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - heard_).count();
}

void Client::GiveUp(const std::string& reason) {
  absl::MutexLock lock(&mutex_);
  if (!ready_) return;
  given_up_ms_ = std::clamp(2 * given_up_ms_, options_.given_up_backoff_ms_min,
                            options_.given_up_backoff_ms_max);
  Lose(attempt_, absl::UnavailableError(reason), given_up_ms_);
}

absl::StatusOr<uint64_t> Client::Start(const v1::GenerateRequest& request,
                                       const v1::KvSource& source, uint32_t prefill_tokens,
                                       std::shared_ptr<const LoadedMedia> media,
                                       std::shared_ptr<Mailbox> mailbox) {
  absl::MutexLock lock(&mutex_);
  if (!ready_) return absl::UnavailableError(absl::StrCat("Worker ", address_, " is not ready."));
  const uint64_t id = next_stream_id_++;
  v1::SessionRequest message;
  message.mutable_start()->set_stream_id(id);
  *message.mutable_start()->mutable_request() = request;
  if (!source.address().empty()) {
    *message.mutable_start()->mutable_request()->mutable_kv_source() = source;
  }
  if (!session_->Write(std::move(message), options_.outbox_messages_max)) {
    return absl::ResourceExhaustedError(absl::StrCat("Worker ", address_, " does not keep up."));
  }
  if (streams_.empty()) heard_ = std::chrono::steady_clock::now();
  streams_.emplace(id, Stream{prefill_tokens, std::move(mailbox), std::move(media)});
  load_.OnStart(prefill_tokens);
  return id;
}

void Client::CountElsewhere(uint32_t prefill_tokens) {
  absl::MutexLock lock(&mutex_);
  load_.OnStartElsewhere(prefill_tokens);
}

void Client::Cancel(uint64_t stream_id) {
  absl::MutexLock lock(&mutex_);
  const auto stream = streams_.find(stream_id);
  if (stream == streams_.end()) return;
  Erase(stream);
  listeners_.on_load();
  if (session_ == nullptr) return;
  session_->DropMedia(stream_id);
  v1::SessionRequest message;
  message.mutable_cancel()->set_stream_id(stream_id);
  // Bounded by the number of streams.
  session_->Write(std::move(message), std::numeric_limits<size_t>::max());
}

void Client::OnOutputs(uint64_t attempt, v1::SessionReply& reply) {
  absl::MutexLock lock(&mutex_);
  if (attempt != attempt_) return;
  heard_ = std::chrono::steady_clock::now();
  given_up_ms_ = 0;
  for (const v1::SessionReply::NeedMedia& need : reply.need_media()) SendMedia(need);
  bool changed = false;
  for (v1::SessionReply::Output& output : *reply.mutable_outputs()) {
    const auto stream = streams_.find(output.stream_id());
    if (stream == streams_.end()) continue;  // Cancelled meanwhile.
    const bool last = output.reply().finish_reason() != v1::FINISH_REASON_UNSPECIFIED;
    const bool first = output.reply().tokens_size() > 0 && PromptDone(stream->second);
    changed |= first || last;
    const bool fits = stream->second.mailbox->Put(std::move(*output.mutable_reply()));
    if (last || !fits) {
      Erase(stream);
      session_->DropMedia(output.stream_id());
    }
    if (!last && !fits) {
      v1::SessionRequest message;
      message.mutable_cancel()->set_stream_id(output.stream_id());
      session_->Write(std::move(message), std::numeric_limits<size_t>::max());
    }
  }
  if (changed) listeners_.on_load();
}

// A worker that asks for what a request does not have is wrong, and waits for ever; its request has
// an end by the client's leaving or its deadline.
void Client::SendMedia(const v1::SessionReply::NeedMedia& need) {
  const auto found = streams_.find(need.stream_id());
  if (found == streams_.end() || found->second.media == nullptr) return;
  const std::vector<const MediaTensor*> tensors = found->second.media->Tensors();
  for (const uint32_t index : need.media()) {
    if (index >= tensors.size()) continue;
    metrics_.media_bytes_sent.Increment(static_cast<double>(tensors[index]->data.size()));
    session_->WriteMedia({need.stream_id(), index, found->second.media, &tensors[index]->data});
  }
}

void Client::OnLoad(uint64_t attempt, const v1::Load& load, bool first) {
  absl::MutexLock lock(&mutex_);
  if (attempt != attempt_ || !active_) return;
  heard_ = std::chrono::steady_clock::now();
  load_.OnReport(Plausible(load));
  if (!SameAdapters(adapters_.get(), load)) {
    auto adapters = std::make_shared<AdapterDigests>();
    for (const v1::AdapterInfo& info : load.adapters()) (*adapters)[info.name()] = info.digest();
    adapters_ = std::move(adapters);
  }
  if (first) ForgetPages();
  if (!ready_) {
    ready_ = true;
    backoff_ms_ = 0;
    logged_.clear();
    worker_metrics_.SetUp(true);
    LogInfo("worker ready", {{"worker", address_}});
  }
  listeners_.on_load();
}

void Client::OnPages(uint64_t attempt, absl::Span<const PageEvent> events) {
  for (size_t begin = 0; begin < events.size(); begin += kEventsAtOnce) {
    absl::MutexLock lock(&mutex_);
    if (attempt != attempt_ || !active_) return;
    pages_told_ = true;
    listeners_.on_pages(events.subspan(begin, kEventsAtOnce));
  }
}

void Client::ForgetPages() {
  if (std::exchange(pages_told_, false)) listeners_.on_pages_gone();
}

// ---------------------------------------------------------------------- adapters

void Client::LoadAdapter(const std::string& name, const std::string& path, Done done) {
  uint64_t id;
  AdapterCall* const call = NewAdapterCall(std::move(done), &id);
  if (call == nullptr) return;
  call->load.set_name(name);
  call->load.set_path(path);
  stub_->async()->LoadAdapter(
      &call->context, &call->load, &call->loaded,
      [this, id](const grpc::Status& status) { OnAdapterCallDone(id, ToAbsl(status)); });
}

void Client::UnloadAdapter(const std::string& name, Done done) {
  uint64_t id;
  AdapterCall* const call = NewAdapterCall(std::move(done), &id);
  if (call == nullptr) return;
  call->unload.set_name(name);
  stub_->async()->UnloadAdapter(
      &call->context, &call->unload, &call->unloaded,
      [this, id](const grpc::Status& status) { OnAdapterCallDone(id, ToAbsl(status)); });
}

AdapterCall* Client::NewAdapterCall(Done done, uint64_t* id) {
  {
    absl::MutexLock lock(&mutex_);
    if (ready_ && !stopping_) {
      *id = next_adapter_call_++;
      auto& call = adapter_calls_[*id] = std::make_unique<AdapterCall>();
      call->context.set_deadline(std::chrono::system_clock::now() +
                                 std::chrono::milliseconds(options_.adapter_timeout_ms));
      call->done = std::move(done);
      ++calls_;
      return call.get();
    }
  }
  done(absl::UnavailableError(absl::StrCat("Worker ", address_, " is not ready.")));
  return nullptr;
}

// The call is gone before the client hears that it is done; see SessionCall::OnDone.
void Client::OnAdapterCallDone(uint64_t id, const absl::Status& status) {
  Done done;
  {
    absl::MutexLock lock(&mutex_);
    const auto found = adapter_calls_.find(id);
    done = std::move(found->second->done);
    adapter_calls_.erase(found);
  }
  done(status);
  absl::MutexLock lock(&mutex_);
  --calls_;
}

// -------------------------------------------------------------------- connecting

void Client::Try() {
  absl::MutexLock lock(&mutex_);
  if (stopping_) return;
  const uint64_t attempt = ++attempt_;
  active_ = true;
  describe_ = std::make_unique<DescribeCall>();
  describe_->context.set_deadline(std::chrono::system_clock::now() +
                                  std::chrono::milliseconds(options_.describe_timeout_ms));
  ++calls_;
  stub_->async()->Describe(
      &describe_->context, &describe_->request, &describe_->reply,
      [this, attempt](const grpc::Status& status) { OnDescribed(attempt, ToAbsl(status)); });
}

void Client::OnDescribed(uint64_t attempt, const absl::Status& status) {
  absl::MutexLock lock(&mutex_);
  // Shared because what is posted must be copyable.
  const auto description = std::make_shared<const v1::DescribeReply>(std::move(describe_->reply));
  describe_ = nullptr;
  --calls_;
  if (stopping_) return;
  if (!status.ok()) return Lose(attempt, status);
  Post([this, attempt, description] { Judge(attempt, *description); });
}

void Client::Judge(uint64_t attempt, const v1::DescribeReply& description) {
  const std::optional<WorkerRefusal> refusal = listeners_.accept(description);
  absl::MutexLock lock(&mutex_);
  if (stopping_ || attempt != attempt_) return;
  if (refusal.has_value()) {
    worker_metrics_.CountRefusal(refusal->reason);
    return Lose(attempt, absl::FailedPreconditionError(refusal->message),
                options_.refused_backoff_ms);
  }
  running_max_ = description.running_requests_max();
  capacity_ = running_max_ + description.waiting_requests_max();
  numerics_class_ = NumberOf(description.numerics_class());
  full_page_bytes_ = description.full_page_bytes();
  sliding_page_bytes_ = description.sliding_page_bytes();
  session_ = std::make_shared<SessionCall>(*this, attempt);
  ++calls_;
  session_->Begin(*stub_);
  BeginWatch();
}

void Client::BeginWatch() {
  watch_ = std::make_shared<WatchCall>(*this, attempt_);
  watch_begun_ = std::chrono::steady_clock::now();
  ++calls_;
  watch_->Begin(*stub_);
}

void Client::OnCallDone(uint64_t attempt, const absl::Status& status) {
  absl::MutexLock lock(&mutex_);
  --calls_;
  Lose(attempt, status.ok() ? absl::UnavailableError("the worker ended the session") : status);
}

void Client::OnWatchDone(uint64_t attempt, const absl::Status& status) {
  {
    absl::MutexLock lock(&mutex_);
    const bool current = attempt == attempt_ && active_ && !stopping_;
    const bool only_news = absl::IsDataLoss(status) || absl::IsAborted(status);
    const auto lasted = std::chrono::steady_clock::now() - watch_begun_;
    if (current && only_news && ready_ &&
        lasted >= std::chrono::milliseconds(options_.watch_again_ms_min)) {
      worker_metrics_.CountWatchGap();
      LogInfo("a worker's news had a gap",
              {{"worker", address_}, {"reason", absl::string_view(status.message())}});
      --calls_;
      return BeginWatch();
    }
  }
  OnCallDone(attempt, status);
}

void Client::Lose(uint64_t attempt, const absl::Status& reason, int wait_ms_min) {
  if (attempt != attempt_ || !active_ || stopping_) return;
  active_ = false;
  EndCalls();
  const std::string trouble = wait_ms_min > 0 ? (ready_ ? "worker given up" : "worker refused")
                              : ready_        ? "worker lost"
                                              : "worker not reachable";
  // While it stays away, the first trouble has said so.
  if (logged_.empty() || (wait_ms_min > 0 && logged_ != trouble)) {
    LogWarning(trouble, {{"worker", address_},
                         {"reason", absl::string_view(reason.message())},
                         {"lost_requests", streams_.size()}});
    logged_ = trouble;
  }
  const bool was_ready = std::exchange(ready_, false);
  worker_metrics_.SetUp(false);
  load_.OnLost();
  adapters_ = nullptr;
  ForgetPages();
  FailStreams(absl::UnavailableError("The worker of this request was lost; try again."));
  if (was_ready) listeners_.on_lost();
  backoff_ms_ = std::clamp(backoff_ms_ * 2, options_.backoff_ms_min, options_.backoff_ms_max);
  RetryAfter(std::max(backoff_ms_, wait_ms_min));
}

void Client::EndCalls() {
  if (describe_ != nullptr) describe_->context.TryCancel();
  if (session_ != nullptr) session_->End();
  if (watch_ != nullptr) watch_->End();
  for (const auto& [id, call] : adapter_calls_) call->context.TryCancel();
  session_ = nullptr;
  watch_ = nullptr;
}

void Client::FailStreams(const absl::Status& reason) {
  for (auto& [id, stream] : streams_) stream.mailbox->PutLost(reason);
  streams_.clear();
}

void Client::RetryAfter(int ms) {
  ++posted_;
  retry_timer_.expires_after(std::chrono::milliseconds(ms));
  retry_timer_.async_wait([this](boost::system::error_code error) {
    if (!error) Try();
    absl::MutexLock lock(&mutex_);
    --posted_;
  });
}

}  // namespace

bool WorkerClient::HoldsAdapter(const std::string& name, const std::string& digest) const {
  const std::shared_ptr<const AdapterDigests> held = adapters();
  if (held == nullptr) return false;
  const auto found = held->find(name);
  return found != held->end() && (digest.empty() || found->second == digest);
}

std::unique_ptr<WorkerClient> WorkerClient::Connect(boost::asio::io_context& context,
                                                    std::string address,
                                                    WorkerClientOptions options,
                                                    Listeners listeners, RouterMetrics& metrics) {
  auto client =
      std::make_unique<Client>(context, std::move(address), options, std::move(listeners), metrics);
  client->Try();
  return client;
}

}  // namespace facet
