#include "tests/fake_worker/fake_worker.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <limits>
#include <map>
#include <set>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "proto/worker.grpc.pb.h"

namespace facet::testing {
namespace {

class Worker;

// One router's session. Deletes itself in OnDone.
class Session final : public grpc::ServerBidiReactor<v1::SessionRequest, v1::SessionReply> {
 public:
  explicit Session(Worker& worker) : worker_(worker) {}
  void Begin() { StartRead(&request_); }

  void Send(uint64_t stream_id, v1::GenerateReply reply);
  void AskForMedia(uint64_t stream_id, int count);
  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnDone() override;

 private:
  void WriteNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Worker& worker_;
  v1::SessionRequest request_;
  absl::Mutex mutex_;
  v1::SessionReply outbox_ ABSL_GUARDED_BY(mutex_);
  v1::SessionReply sent_ ABSL_GUARDED_BY(mutex_);  // Being written, while writing_.
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
};

// One router's watch: writes the newest load and the pages since the last message. Deletes itself
// in OnDone.
class Watch final : public grpc::ServerWriteReactor<v1::WatchReply> {
 public:
  explicit Watch(Worker& worker) : worker_(worker) {}

  void Send(const v1::Load& load, const std::vector<PageEvent>& pages = {});
  void LoseOne();
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  void WriteNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Worker& worker_;
  absl::Mutex mutex_;
  v1::WatchReply reply_ ABSL_GUARDED_BY(mutex_);
  v1::Load newest_ ABSL_GUARDED_BY(mutex_);
  v1::PageEvents pages_ ABSL_GUARDED_BY(mutex_);
  uint64_t sequence_ ABSL_GUARDED_BY(mutex_) = 0;
  bool changed_ ABSL_GUARDED_BY(mutex_) = false;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
};

class Worker final : public FakeWorker, public v1::Worker::CallbackService {
 public:
  explicit Worker(Options options) : options_(std::move(options)), adapters_(options_.adapters) {}
  ~Worker() override {
    Kill();
    {
      absl::MutexLock lock(&mutex_);
      stopping_ = true;
    }
    if (pace_.joinable()) pace_.join();
    if (teller_.joinable()) teller_.join();
  }

  absl::Status Listen() {
    if (options_.token_interval > absl::ZeroDuration()) {
      pace_ = std::thread([this] { Every(options_.token_interval, [this] { Step(); }); });
    }
    if (options_.load_interval > absl::ZeroDuration()) {
      teller_ = std::thread([this] { Every(options_.load_interval, [this] { TellLoadNow(); }); });
    }
    grpc::ServerBuilder builder;
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 500);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
    builder.AddListeningPort(options_.address, grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    if (server_ == nullptr || port_ == 0) {
      return absl::UnavailableError(absl::StrCat("cannot listen on ", options_.address));
    }
    return absl::OkStatus();
  }

  int port() const override { return port_; }

  void HoldAfter(size_t tokens) override {
    absl::MutexLock lock(&mutex_);
    hold_after_ = tokens;
  }

  void Release() override {
    absl::MutexLock lock(&mutex_);
    hold_after_ = std::numeric_limits<size_t>::max();
    for (auto it = streams_.begin(); it != streams_.end();) {
      const auto stream = it++;
      Advance(stream);
    }
    TellLoad();
  }

  void SetDraining(bool draining) override {
    absl::MutexLock lock(&mutex_);
    draining_ = draining;
    TellLoad();
  }

  void SetLoad(const v1::Load& load) override {
    absl::MutexLock lock(&mutex_);
    load_ = load;
    TellLoad();
  }

  void TellPages(const std::vector<PageEvent>& events) override {
    absl::MutexLock lock(&mutex_);
    for (const PageEvent& event : events) {
      const auto same = [&](const PageEvent& other) {
        return other.key == event.key && other.sliding == event.sliding && other.tier == event.tier;
      };
      pages_.erase(std::remove_if(pages_.begin(), pages_.end(), same), pages_.end());
      if (event.stored) pages_.push_back(event);
    }
    for (testing::Watch* watch : watches_) watch->Send(Load(), events);
  }

  void LoseNews() override {
    absl::MutexLock lock(&mutex_);
    for (testing::Watch* watch : watches_) watch->LoseOne();
  }

  void Kill() override {
    if (server_ == nullptr) return;
    server_->Shutdown(std::chrono::system_clock::now());
    server_->Wait();
    server_ = nullptr;
  }

  std::map<std::string, std::string> adapters() const override {
    absl::MutexLock lock(&mutex_);
    return adapters_;
  }

  int started() const override {
    absl::MutexLock lock(&mutex_);
    return started_;
  }
  int running() const override {
    absl::MutexLock lock(&mutex_);
    return static_cast<int>(streams_.size());
  }
  int cancelled() const override {
    absl::MutexLock lock(&mutex_);
    return cancelled_;
  }
  int watches_begun() const override {
    absl::MutexLock lock(&mutex_);
    return watches_begun_;
  }
  std::vector<v1::GenerateRequest> requests() const override {
    absl::MutexLock lock(&mutex_);
    return requests_;
  }
  std::vector<v1::SessionRequest::MediaChunk> media_chunks() const override {
    absl::MutexLock lock(&mutex_);
    return media_chunks_;
  }
  bool AwaitStarted(int count) override {
    return Await([this, count]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return started_ >= count; });
  }
  bool AwaitRunning(int count) override {
    return Await([this, count]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
      return static_cast<int>(streams_.size()) == count;
    });
  }
  bool AwaitCancelled(int count) override {
    return Await([this, count]()
                     ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return cancelled_ >= count; });
  }

  // ------------------------------------------------------------- the service

  grpc::ServerUnaryReactor* Describe(grpc::CallbackServerContext* context,
                                     const v1::DescribeRequest*,
                                     v1::DescribeReply* reply) override {
    *reply = options_.description;
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

  grpc::ServerBidiReactor<v1::SessionRequest, v1::SessionReply>* Session(
      grpc::CallbackServerContext*) override {
    auto* session = new testing::Session(*this);
    session->Begin();
    return session;
  }

  grpc::ServerWriteReactor<v1::WatchReply>* Watch(grpc::CallbackServerContext*,
                                                  const v1::WatchRequest*) override {
    auto* watch = new testing::Watch(*this);
    absl::MutexLock lock(&mutex_);
    watches_.insert(watch);
    ++watches_begun_;
    watch->Send(Load(), pages_);
    return watch;
  }

  grpc::ServerUnaryReactor* LoadAdapter(grpc::CallbackServerContext* context,
                                        const v1::LoadAdapterRequest* request,
                                        v1::LoadAdapterReply*) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(Load(request->name(), request->path()));
    return reactor;
  }

  grpc::ServerUnaryReactor* UnloadAdapter(grpc::CallbackServerContext* context,
                                          const v1::UnloadAdapterRequest* request,
                                          v1::UnloadAdapterReply*) override {
    absl::MutexLock lock(&mutex_);
    const bool held = adapters_.erase(request->name()) > 0;
    TellLoad();
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(held ? grpc::Status::OK : grpc::Status(grpc::StatusCode::NOT_FOUND, "none"));
    return reactor;
  }

  // ------------------------------------------------------ from the sessions

  void OnRequest(testing::Session* session, const v1::SessionRequest& message) {
    absl::MutexLock lock(&mutex_);
    if (message.has_cancel()) {
      cancelled_ += static_cast<int>(streams_.erase({session, message.cancel().stream_id()}));
    } else if (message.has_start()) {
      const v1::GenerateRequest& request = message.start().request();
      ++started_;
      if (options_.keep_requests) requests_.push_back(request);
      Stream stream;
      stream.answer = Resumed(options_.answer(request), request);
      stream.prompt_tokens = request.prompt_tokens_size();
      stream.number = started_;
      stream.priority = request.priority();
      stream.logprobs = request.sampling().want_logprobs();
      stream.allowed = pace_.joinable() ? 0 : std::numeric_limits<size_t>::max();
      if (request.has_prompt_logprobs()) {
        stream.scored.assign(request.prompt_tokens().begin() + 1, request.prompt_tokens().end());
      }
      const auto [it, inserted] =
          streams_.emplace(StreamKey{session, message.start().stream_id()}, std::move(stream));
      if (!inserted) return;
      if (options_.ask_for_media && request.media_size() > 0) {
        it->second.media_awaited = request.media_size();
        session->AskForMedia(message.start().stream_id(), request.media_size());
      }
      Advance(it);
    } else if (message.has_media_chunk()) {
      media_chunks_.push_back(message.media_chunk());
      const auto it = streams_.find({session, message.media_chunk().stream_id()});
      if (it == streams_.end() || !message.media_chunk().last()) return;
      --it->second.media_awaited;
      Advance(it);
    }
    TellLoad();
  }

  void OnSessionEnd(testing::Session* session) {
    absl::MutexLock lock(&mutex_);
    for (auto it = streams_.begin(); it != streams_.end();) {
      if (it->first.first != session) {
        ++it;
        continue;
      }
      it = streams_.erase(it);
      ++cancelled_;
    }
    TellLoad();
  }

  void OnWatchEnd(testing::Watch* watch) {
    absl::MutexLock lock(&mutex_);
    watches_.erase(watch);
  }

 private:
  static Answer Resumed(Answer answer, const v1::GenerateRequest& request) {
    for (const uint32_t id : request.resume_from()) {
      if (answer.tokens.empty() || answer.tokens.front() != id) {
        return {{},
                v1::FINISH_REASON_ERROR,
                "resume_from is of another answer",
                v1::ERROR_KIND_INVALID_ARGUMENT};
      }
      answer.tokens.erase(answer.tokens.begin());
    }
    return answer;
  }

  using StreamKey = std::pair<testing::Session*, uint64_t>;
  struct Stream {
    Answer answer;
    int prompt_tokens = 0;
    std::vector<uint32_t> scored;  // tokens of the prompt of which log probabilities are wanted
    size_t sent = 0;
    int number = 0;  // Rises with each request.
    int priority = 0;
    size_t allowed = 0;  // Tokens that its pace gives it by now.
    int media_awaited = 0;
    bool logprobs = false;
  };
  using StreamMap = std::map<StreamKey, Stream>;

  // Sends what the answer may give now; the stream is gone after its last message.
  void Advance(StreamMap::iterator it) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    Stream& stream = it->second;
    if (stream.media_awaited > 0) return;
    const Answer& answer = stream.answer;
    const bool error = !answer.error.empty();
    const size_t allowed = std::min(hold_after_, stream.allowed);
    while (stream.sent < answer.tokens.size() && stream.sent < allowed) {
      v1::GenerateReply reply;
      for (const uint32_t id : std::exchange(stream.scored, {})) {
        v1::TokenLogprobs& scored = *reply.add_prompt_logprobs();
        scored.set_logprob(-0.25f);
        scored.add_top_ids(id);
        scored.add_top_logprobs(-0.25f);
      }
      reply.add_tokens(answer.tokens[stream.sent++]);
      if (stream.logprobs) {
        v1::TokenLogprobs& logprobs = *reply.add_logprobs();
        logprobs.set_logprob(-0.5f);
        logprobs.add_top_ids(reply.tokens(0));
        logprobs.add_top_logprobs(-0.5f);
      }
      if (stream.sent == answer.tokens.size() && !error) SetLast(stream, reply);
      it->first.first->Send(it->first.second, std::move(reply));
    }
    if (stream.sent < answer.tokens.size() || allowed == 0) return;
    if (error || answer.tokens.empty()) {
      v1::GenerateReply reply;
      SetLast(stream, reply);
      it->first.first->Send(it->first.second, std::move(reply));
    }
    streams_.erase(it);
  }

  // A step: the requests of the highest priority, and of these the oldest, get a token each.
  void Step() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    std::vector<StreamMap::iterator> first;
    for (auto it = streams_.begin(); it != streams_.end(); ++it) first.push_back(it);
    std::sort(first.begin(), first.end(), [](StreamMap::iterator a, StreamMap::iterator b) {
      return std::pair(-a->second.priority, a->second.number) <
             std::pair(-b->second.priority, b->second.number);
    });
    if (first.size() > options_.description.running_requests_max()) {
      first.resize(options_.description.running_requests_max());
    }
    for (const StreamMap::iterator it : first) {
      ++it->second.allowed;
      Advance(it);
    }
    if (!first.empty()) TellLoad();
  }

  // Until the worker ends. By the clock, so that what was late once is not late for ever.
  template <typename Work>
  void Every(absl::Duration interval, const Work& work) {
    absl::Time next = absl::Now();
    absl::MutexLock lock(&mutex_);
    while (!mutex_.AwaitWithDeadline(absl::Condition(&stopping_), next += interval)) work();
  }

  static void SetLast(const Stream& stream, v1::GenerateReply& reply) {
    reply.set_finish_reason(stream.answer.error.empty() ? stream.answer.finish_reason
                                                        : v1::FINISH_REASON_ERROR);
    reply.set_error(stream.answer.error);
    reply.set_error_kind(stream.answer.error_kind);
    reply.mutable_ledger()->set_prompt_tokens(stream.prompt_tokens);
    reply.mutable_ledger()->set_generated_tokens(static_cast<uint32_t>(stream.sent));
  }

  v1::Load Load() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    v1::Load load = load_;
    const auto all = static_cast<uint32_t>(streams_.size());
    const uint32_t running = std::min(all, options_.description.running_requests_max());
    load.set_running_requests(running);
    load.set_waiting_requests(all - running);
    load.set_draining(draining_);
    for (const auto& [name, path] : adapters_) {
      v1::AdapterInfo& info = *load.add_adapters();
      info.set_name(name);
      info.set_digest(path);
    }
    return load;
  }

  grpc::Status Load(const std::string& name, const std::string& path) {
    if (absl::StrContains(path, "nowhere")) {
      return {grpc::StatusCode::NOT_FOUND, path + ": No such file or directory"};
    }
    if (absl::StrContains(path, "broken")) {
      return {grpc::StatusCode::INVALID_ARGUMENT, path + ": 'r' is missing"};
    }
    absl::MutexLock lock(&mutex_);
    const auto [held, added] = adapters_.emplace(name, path);
    if (!added && held->second != path) {
      return {grpc::StatusCode::ALREADY_EXISTS, "adapter '" + name + "' has other contents"};
    }
    TellLoad();
    return grpc::Status::OK;
  }

  void TellLoad() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    load_changed_ = true;
    if (!teller_.joinable()) TellLoadNow();
  }
  void TellLoadNow() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (!std::exchange(load_changed_, false)) return;
    for (testing::Watch* watch : watches_) watch->Send(Load());
  }

  template <typename Condition>
  bool Await(const Condition& condition) {
    absl::MutexLock lock(&mutex_);
    return mutex_.AwaitWithTimeout(absl::Condition(&condition), absl::Seconds(30));
  }

  const Options options_;
  std::thread pace_, teller_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;

  mutable absl::Mutex mutex_;
  size_t hold_after_ ABSL_GUARDED_BY(mutex_) = options_.hold_after;
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool load_changed_ ABSL_GUARDED_BY(mutex_) = false;
  std::map<std::string, std::string> adapters_ ABSL_GUARDED_BY(mutex_);
  v1::Load load_ ABSL_GUARDED_BY(mutex_);
  std::vector<PageEvent> pages_ ABSL_GUARDED_BY(mutex_);  // that are stored
  int watches_begun_ ABSL_GUARDED_BY(mutex_) = 0;
  int started_ ABSL_GUARDED_BY(mutex_) = 0;
  int cancelled_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<v1::GenerateRequest> requests_ ABSL_GUARDED_BY(mutex_);
  std::vector<v1::SessionRequest::MediaChunk> media_chunks_ ABSL_GUARDED_BY(mutex_);
  StreamMap streams_ ABSL_GUARDED_BY(mutex_);
  std::set<testing::Watch*> watches_ ABSL_GUARDED_BY(mutex_);
};

// ------------------------------------------------------------------ Session

void Session::Send(uint64_t stream_id, v1::GenerateReply reply) {
  absl::MutexLock lock(&mutex_);
  v1::SessionReply::Output& output = *outbox_.add_outputs();
  output.set_stream_id(stream_id);
  *output.mutable_reply() = std::move(reply);
  if (!writing_) WriteNext();
}

void Session::AskForMedia(uint64_t stream_id, int count) {
  absl::MutexLock lock(&mutex_);
  v1::SessionReply::NeedMedia& need = *outbox_.add_need_media();
  need.set_stream_id(stream_id);
  for (int i = 0; i < count; ++i) need.add_media(i);
  if (!writing_) WriteNext();
}

void Session::WriteNext() {
  writing_ = outbox_.outputs_size() + outbox_.need_media_size() > 0 && !ended_;
  if (writing_) {
    sent_.Swap(&outbox_);
    outbox_.Clear();
    return StartWrite(&sent_);
  }
  if (!ended_ || finished_) return;
  finished_ = true;
  Finish(grpc::Status::OK);
}

void Session::OnReadDone(bool ok) {
  if (ok) {
    worker_.OnRequest(this, request_);
    return StartRead(&request_);
  }
  worker_.OnSessionEnd(this);
  absl::MutexLock lock(&mutex_);
  ended_ = true;
  if (!writing_) WriteNext();
}

void Session::OnWriteDone(bool ok) {
  absl::MutexLock lock(&mutex_);
  WriteNext();
}

void Session::OnDone() { delete this; }

// -------------------------------------------------------------------- Watch

void Watch::LoseOne() {
  absl::MutexLock lock(&mutex_);
  ++sequence_;
  changed_ = true;
  if (!writing_) WriteNext();
}

void Watch::Send(const v1::Load& load, const std::vector<PageEvent>& pages) {
  absl::MutexLock lock(&mutex_);
  newest_ = load;
  for (const PageEvent& event : pages) AppendPageEvent(event, pages_);
  changed_ = true;
  if (!writing_) WriteNext();
}

void Watch::WriteNext() {
  writing_ = changed_ && !finished_;
  if (!writing_) return;
  changed_ = false;
  reply_.set_sequence(++sequence_);
  *reply_.mutable_load() = newest_;
  *reply_.mutable_page_events() = std::exchange(pages_, v1::PageEvents());
  StartWrite(&reply_);
}

void Watch::OnWriteDone(bool ok) {
  absl::MutexLock lock(&mutex_);
  WriteNext();
}

void Watch::OnCancel() {
  worker_.OnWatchEnd(this);
  absl::MutexLock lock(&mutex_);
  finished_ = true;
  Finish(grpc::Status::CANCELLED);
}

void Watch::OnDone() { delete this; }

}  // namespace

std::string FakeWorker::address() const { return absl::StrCat("127.0.0.1:", port()); }

absl::StatusOr<std::unique_ptr<FakeWorker>> FakeWorker::Start(Options options) {
  auto worker = std::make_unique<Worker>(std::move(options));
  if (absl::Status status = worker->Listen(); !status.ok()) return status;
  return worker;
}

}  // namespace facet::testing
