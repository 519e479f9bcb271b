#include "worker/worker_service.h"

#include <algorithm>
#include <deque>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "proto/page_event.h"
#include "worker/media_intake.h"

namespace facet {
namespace {

// Outputs that a slow reader may leave unread before its stream is ended: about a minute of 64
// requests at 20 tokens a second.
constexpr int kPendingOutputsMax = 65536;

v1::ErrorKind KindOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
      return v1::ERROR_KIND_INVALID_ARGUMENT;
    case absl::StatusCode::kResourceExhausted:
      return v1::ERROR_KIND_RESOURCE_EXHAUSTED;
    case absl::StatusCode::kUnavailable:
      return v1::ERROR_KIND_UNAVAILABLE;
    default:
      return v1::ERROR_KIND_INTERNAL;
  }
}

v1::GenerateReply ErrorReply(const absl::Status& status) {
  v1::GenerateReply reply;
  reply.set_finish_reason(v1::FINISH_REASON_ERROR);
  reply.set_error(std::string(status.message()));
  reply.set_error_kind(KindOf(status));
  return reply;
}

// The codes have equal values.
grpc::Status ToGrpc(const absl::Status& status) {
  return {static_cast<grpc::StatusCode>(status.code()), std::string(status.message())};
}

// A single call has no way to ask for data.
absl::Status CheckMediaIsHere(const v1::GenerateRequest& request) {
  for (int i = 0; i < request.media_size(); ++i) {
    if (!request.media(i).data().empty()) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("media[", i, "].data is empty: only a session asks for it"));
  }
  return absl::OkStatus();
}

// Hands what the engine gives to a reactor. gRPC ends a reactor's life in OnDone, while the engine
// may hold the sink longer, so the two find each other under the sink's lock.
template <typename Reactor>
struct ReactorSink final : StepSink {
  explicit ReactorSink(Reactor* reactor) : reactor(reactor) {}
  void OnStep(std::vector<Output> outputs) override {
    absl::MutexLock lock(&mutex);
    if (reactor != nullptr) reactor->Add(std::move(outputs));
  }
  void Detach() {
    absl::MutexLock lock(&mutex);
    reactor = nullptr;
  }
  absl::Mutex mutex;
  Reactor* reactor ABSL_GUARDED_BY(mutex);
};

// One router's stream.
class SessionReactor final : public grpc::ServerBidiReactor<v1::SessionRequest, v1::SessionReply> {
 public:
  SessionReactor(grpc::CallbackServerContext* context, Engine* engine)
      : context_(*context), engine_(*engine), sink_(std::make_shared<Sink>(this)) {
    StartRead(&request_);
  }

  void OnReadDone(bool ok) override {
    if (!ok) return Close();
    ForgetEnded();
    if (request_.has_start()) {
      Start(request_.start());
    } else if (request_.has_cancel()) {
      engine_.Cancel(sink_, request_.cancel().stream_id());
    } else if (request_.has_media_chunk()) {
      TakeMedia(request_.media_chunk());
    }
    request_.Clear();
    StartRead(&request_);
  }

  void OnWriteDone(bool ok) override {
    absl::MutexLock lock(&sink_->mutex);
    writing_ = false;
    if (ok && HasPending()) {
      Write();
    } else if (closing_) {
      FinishOnce();
    }
  }

  void OnCancel() override { engine_.CancelAll(sink_); }

  void OnDone() override {
    engine_.CancelAll(sink_);
    sink_->Detach();
    delete this;
  }

 private:
  using Sink = ReactorSink<SessionReactor>;
  friend Sink;

  void ForgetEnded() {
    absl::MutexLock lock(&sink_->mutex);
    for (const uint64_t id : ended_streams_) intake_.Forget(id);
    ended_streams_.clear();
  }

  void Start(const v1::SessionRequest::Start& start) {
    intake_.Expect(start.stream_id(), start.request());
    const absl::Status status = engine_.Submit(start.request(), sink_, start.stream_id());
    if (!status.ok()) sink_->OnStep({{start.stream_id(), ErrorReply(status)}});
  }

  // The bytes are hashed here, off the engine's thread and under no lock that it takes.
  void TakeMedia(const v1::SessionRequest::MediaChunk& chunk) {
    std::optional<MediaIntake::Item> item = intake_.Add(chunk);
    if (!item.has_value()) return;
    engine_.AddMedia(sink_, chunk.stream_id(), item->index, std::move(item->data));
  }

  // The router will send no more, or is gone: end what it asked for.
  void Close() {
    engine_.CancelAll(sink_);
    absl::MutexLock lock(&sink_->mutex);
    closing_ = true;
    if (!writing_) FinishOnce();
  }

  void Add(std::vector<StepSink::Output> outputs) ABSL_EXCLUSIVE_LOCKS_REQUIRED(sink_->mutex) {
    if (finished_) return;
    if (pending_.outputs_size() > kPendingOutputsMax) return context_.TryCancel();
    for (StepSink::Output& output : outputs) {
      if (!output.need_media.empty()) {
        auto* need = pending_.add_need_media();
        need->set_stream_id(output.stream_id);
        need->mutable_media()->Add(output.need_media.begin(), output.need_media.end());
        continue;
      }
      if (output.reply.finish_reason() != v1::FINISH_REASON_UNSPECIFIED) {
        ended_streams_.push_back(output.stream_id);
      }
      auto* added = pending_.add_outputs();
      added->set_stream_id(output.stream_id);
      *added->mutable_reply() = std::move(output.reply);
    }
    if (!writing_) Write();
  }

  bool HasPending() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(sink_->mutex) {
    return pending_.outputs_size() + pending_.need_media_size() > 0;
  }

  void Write() ABSL_EXCLUSIVE_LOCKS_REQUIRED(sink_->mutex) {
    writing_ = true;
    sent_.Swap(&pending_);
    pending_.Clear();
    StartWrite(&sent_);
  }

  void FinishOnce() ABSL_EXCLUSIVE_LOCKS_REQUIRED(sink_->mutex) {
    if (!std::exchange(finished_, true)) Finish(grpc::Status::OK);
  }

  grpc::CallbackServerContext& context_;
  Engine& engine_;
  v1::SessionRequest request_;
  const std::shared_ptr<Sink> sink_;
  v1::SessionReply sent_;
  MediaIntake intake_;  // of the reading thread
  // Since the last message was read.
  std::vector<uint64_t> ended_streams_ ABSL_GUARDED_BY(sink_->mutex);
  v1::SessionReply pending_ ABSL_GUARDED_BY(sink_->mutex);
  bool writing_ ABSL_GUARDED_BY(sink_->mutex) = false;
  bool closing_ ABSL_GUARDED_BY(sink_->mutex) = false;
  bool finished_ ABSL_GUARDED_BY(sink_->mutex) = false;
};

// A single request.
class GenerateReactor final : public grpc::ServerWriteReactor<v1::GenerateReply> {
 public:
  GenerateReactor(Engine* engine, const v1::GenerateRequest& request)
      : engine_(*engine), sink_(std::make_shared<Sink>(this)) {
    absl::Status status = CheckMediaIsHere(request);
    if (status.ok()) status = engine_.Submit(request, sink_, /*stream_id=*/0);
    if (!status.ok()) sink_->OnStep({{0, ErrorReply(status)}});
  }

  void OnWriteDone(bool ok) override {
    absl::MutexLock lock(&sink_->mutex);
    const bool last = replies_.front().finish_reason() != v1::FINISH_REASON_UNSPECIFIED;
    replies_.pop_front();
    if (!ok || last) {
      // The engine may have more for a client that is gone, and nothing may be written any more.
      finished_ = true;
      Finish(grpc::Status::OK);
    } else if (!replies_.empty()) {
      StartWrite(&replies_.front());
    }
  }

  void OnCancel() override { engine_.CancelAll(sink_); }

  void OnDone() override {
    engine_.CancelAll(sink_);
    sink_->Detach();
    delete this;
  }

 private:
  using Sink = ReactorSink<GenerateReactor>;
  friend Sink;

  void Add(std::vector<StepSink::Output> outputs) ABSL_EXCLUSIVE_LOCKS_REQUIRED(sink_->mutex) {
    if (finished_) return;
    for (StepSink::Output& output : outputs) {
      replies_.push_back(std::move(output.reply));
      if (replies_.size() == 1) StartWrite(&replies_.front());
    }
  }

  Engine& engine_;
  const std::shared_ptr<Sink> sink_;
  // The first is being written; at most tokens_max follow.
  std::deque<v1::GenerateReply> replies_ ABSL_GUARDED_BY(sink_->mutex);
  bool finished_ ABSL_GUARDED_BY(sink_->mutex) = false;
};

// Writes each load; while one is being written, only the newest is kept.
// What waits is bounded: a reader that falls further behind is told to begin anew.
class WatchReactor final : public grpc::ServerWriteReactor<v1::WatchReply>,
                           public WatchBoard::Watcher {
 public:
  explicit WatchReactor(WatchBoard* board) : board_(*board) { board_.AddWatcher(this); }

  void OnNews(const v1::Load& load, absl::Span<const PageEvent> pages) override {
    absl::MutexLock lock(&mutex_);
    if (finished_) return;
    if (sequence_ > 0 && pages_.size() + pages.size() > kWaitingEventsMax) {
      return FinishOnce({grpc::StatusCode::ABORTED, "the reader fell too far behind: watch again"});
    }
    load_ = load;
    pages_.insert(pages_.end(), pages.begin(), pages.end());
    has_news_ = true;
    if (!writing_) Write();
  }

  void OnWriteDone(bool ok) override {
    absl::MutexLock lock(&mutex_);
    writing_ = false;
    if (!ok) {
      FinishOnce(grpc::Status::OK);
    } else if (has_news_) {
      Write();
    }
  }

  void OnCancel() override {
    absl::MutexLock lock(&mutex_);
    FinishOnce(grpc::Status::OK);
  }

  void OnDone() override {
    board_.RemoveWatcher(this);
    delete this;
  }

 private:
  static constexpr size_t kWaitingEventsMax = 1 << 20;
  static constexpr size_t kMessageEventsMax = 1 << 16;  // 1.1 MB

  void Write() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (finished_) return;
    writing_ = true;
    reply_.Clear();
    reply_.set_sequence(++sequence_);
    *reply_.mutable_load() = load_;
    const size_t count = std::min(pages_.size(), kMessageEventsMax);
    for (size_t i = 0; i < count; ++i) AppendPageEvent(pages_[i], *reply_.mutable_page_events());
    pages_.erase(pages_.begin(), pages_.begin() + static_cast<std::ptrdiff_t>(count));
    has_news_ = !pages_.empty();
    StartWrite(&reply_);
  }
  void FinishOnce(const grpc::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (!std::exchange(finished_, true)) Finish(status);
  }

  WatchBoard& board_;
  absl::Mutex mutex_;
  v1::WatchReply reply_;
  v1::Load load_ ABSL_GUARDED_BY(mutex_);
  std::deque<PageEvent> pages_ ABSL_GUARDED_BY(mutex_);  // not written yet
  uint64_t sequence_ ABSL_GUARDED_BY(mutex_) = 0;
  bool has_news_ ABSL_GUARDED_BY(mutex_) = false;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace

grpc::ServerUnaryReactor* WorkerService::Describe(grpc::CallbackServerContext* context,
                                                  const v1::DescribeRequest*,
                                                  v1::DescribeReply* reply) {
  *reply = description_;
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

grpc::ServerBidiReactor<v1::SessionRequest, v1::SessionReply>* WorkerService::Session(
    grpc::CallbackServerContext* context) {
  return new SessionReactor(context, &engine_);
}

grpc::ServerWriteReactor<v1::GenerateReply>* WorkerService::Generate(
    grpc::CallbackServerContext*, const v1::GenerateRequest* request) {
  return new GenerateReactor(&engine_, *request);
}

grpc::ServerWriteReactor<v1::WatchReply>* WorkerService::Watch(grpc::CallbackServerContext*,
                                                               const v1::WatchRequest*) {
  return new WatchReactor(&board_);
}

grpc::ServerWriteReactor<v1::PullPagesReply>* WorkerService::PullPages(
    grpc::CallbackServerContext*, const v1::PullPagesRequest* request) {
  return pages_.Pull(*request);
}

grpc::ServerUnaryReactor* WorkerService::LoadAdapter(grpc::CallbackServerContext* context,
                                                     const v1::LoadAdapterRequest* request,
                                                     v1::LoadAdapterReply*) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  loader_.Add(request->name(), request->path(),
              [reactor](const absl::Status& status) { reactor->Finish(ToGrpc(status)); });
  return reactor;
}

grpc::ServerUnaryReactor* WorkerService::UnloadAdapter(grpc::CallbackServerContext* context,
                                                       const v1::UnloadAdapterRequest* request,
                                                       v1::UnloadAdapterReply*) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpc(adapters_.Unload(request->name())));
  return reactor;
}

void ObserveAdapters(AdapterRegistry& adapters, WatchBoard& board) {
  adapters.SetObserver([&board](const std::vector<AdapterRegistry::Entry>& entries) {
    std::vector<v1::AdapterInfo> infos(entries.size());
    for (size_t i = 0; i < entries.size(); ++i) {
      infos[i].set_name(entries[i].name);
      infos[i].set_digest(entries[i].digest);
      infos[i].set_rank_max(entries[i].rank_max);
    }
    board.PostAdapters(infos);
  });
}

}  // namespace facet
