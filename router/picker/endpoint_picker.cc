#include "router/picker/endpoint_picker.h"

#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>

#include <atomic>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>
#include <chrono>
#include <deque>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/listen_address.h"
#include "base/status_macros.h"
#include "proto/ext_proc.grpc.pb.h"
#include "router/api/messages_request.h"
#include "router/api/openai_request.h"
#include "router/picker/endpoint_choice.h"
#include "router/picker/ext_proc_exchange.h"
#include "router/picker/first_choice.h"

namespace facet {
namespace {

namespace asio = boost::asio;
namespace ext_proc = envoy::service::ext_proc::v3;

// How old what health checks hear may be.
constexpr absl::Duration kHealthInterval = absl::Milliseconds(200);

absl::StatusOr<GenerationRequest> ParseBody(const EndpointQuestion& question) {
  if (question.path == "/v1/chat/completions") return ParseChatRequest(question.body);
  if (question.path == "/v1/completions") return ParseCompletionRequest(question.body);
  if (question.path == "/v1/messages") {
    absl::StatusOr<ApiCall> call = ParseMessagesCall(question.body);
    if (!call.ok()) return call.status();
    return std::move(call->request);
  }
  return absl::UnimplementedError("No prompt is read from what goes to this path.");
}

// A request of which nothing is known.
BuiltChoice UnknownChoice() {
  BuiltChoice choice;
  choice.page_keys = std::make_shared<const std::vector<PageKey>>();
  return choice;
}

// One exchange. Its state belongs to the strand; gRPC's callbacks post there. It is owned by itself
// and by what was posted: gRPC's own share ends with OnDone.
class ProcessCall final
    : public grpc::ServerBidiReactor<ext_proc::ProcessingRequest, ext_proc::ProcessingResponse>,
      public std::enable_shared_from_this<ProcessCall> {
 public:
  ProcessCall(asio::io_context& context, WorkerPool& pool, MediaLoader& loader,
              const EndpointPickerOptions& options)
      : strand_(asio::make_strand(context)),
        pool_(pool),
        loader_(loader),
        options_(options),
        exchange_(options.body_bytes_max) {}

  void Begin() {
    grpc_share_ = shared_from_this();
    StartRead(&request_);
  }

  void OnReadDone(bool ok) override {
    asio::post(strand_, [self = shared_from_this(), ok] {
      if (ok) return self->TakeMessage();
      self->read_all_ = true;
      self->FinishIfDone();
    });
  }
  void OnWriteDone(bool ok) override {
    asio::post(strand_, [self = shared_from_this(), ok] {
      self->writing_ = false;
      self->outbox_.pop_front();
      if (!ok) self->outbox_.clear();
      self->WriteNext();
    });
  }
  void OnCancel() override { *cancelled_ = true; }
  void OnDone() override { const std::shared_ptr<ProcessCall> share = std::move(grpc_share_); }

 private:
  void TakeMessage() {
    std::vector<ext_proc::ProcessingResponse> answers;
    absl::StatusOr<std::optional<EndpointQuestion>> question =
        exchange_.Take(std::move(request_), &answers);
    Send(std::move(answers));
    if (!question.ok()) {
      status_ = {grpc::StatusCode::INVALID_ARGUMENT, std::string(question.status().message())};
      read_all_ = true;
      return FinishIfDone();
    }
    if (exchange_.answered()) promise_.reset();
    // The next message is read when this one is done with, so that answers keep their order.
    if (!question->has_value()) return ReadNext();
    asio::co_spawn(
        strand_,
        [self = shared_from_this(), asked = **std::move(question)]() -> asio::awaitable<void> {
          co_await self->Choose(asked);
        },
        asio::detached);
  }

  asio::awaitable<void> Choose(const EndpointQuestion& question) {
    absl::StatusOr<BuiltChoice> built =
        co_await BuildFirstChoice(pool_, loader_, ParseBody(question), cancelled_);
    if (!built.ok()) built = UnknownChoice();
    std::vector<ext_proc::ProcessingResponse> answers;
    EndpointChoice choice;
    const auto choose = [&](const Situation& situation) -> absl::StatusOr<WorkerPool::Elsewhere> {
      ASSIGN_OR_RETURN(choice, ChooseEndpoints(situation, question, options_.endpoint_port));
      return WorkerPool::Elsewhere{choice.worker, choice.estimate.computed_tokens};
    };
    absl::StatusOr<WorkerPool::Promise> promise =
        pool_.PlaceElsewhere(built->request, built->page_keys, choose);
    if (promise.ok()) {
      promise_ = *std::move(promise);
      exchange_.Answer(std::move(choice.endpoints), &answers);
    } else {
      exchange_.Answer(promise.status(), &answers);
    }
    Send(std::move(answers));
    ReadNext();
  }

  // After what there is to say, so that a gateway that does not listen is not heard either.
  void ReadNext() {
    wants_to_read_ = true;
    if (!writing_) WriteNext();
  }

  void Send(std::vector<ext_proc::ProcessingResponse> answers) {
    for (ext_proc::ProcessingResponse& answer : answers) outbox_.push_back(std::move(answer));
    if (!writing_) WriteNext();
  }
  void WriteNext() {
    if (outbox_.empty() && std::exchange(wants_to_read_, false)) {
      request_.Clear();
      return StartRead(&request_);
    }
    if (outbox_.empty()) return FinishIfDone();
    writing_ = true;
    StartWrite(&outbox_.front());
  }
  void FinishIfDone() {
    if (!read_all_ || writing_ || !outbox_.empty() || std::exchange(finished_, true)) return;
    promise_.reset();  // The pool may be gone before this object is.
    Finish(status_);
  }

  asio::strand<asio::io_context::executor_type> strand_;
  WorkerPool& pool_;
  MediaLoader& loader_;
  const EndpointPickerOptions options_;
  std::shared_ptr<ProcessCall> grpc_share_;  // Until OnDone.
  ext_proc::ProcessingRequest request_;
  ExtProcExchange exchange_;
  // The first is being written. The pieces of one message at most, for the next one is read after
  // them.
  std::deque<ext_proc::ProcessingResponse> outbox_;
  std::optional<WorkerPool::Promise> promise_;
  grpc::Status status_;
  bool wants_to_read_ = false, writing_ = false, read_all_ = false, finished_ = false;
  // Shared with the threads that decode media.
  const std::shared_ptr<std::atomic<bool>> cancelled_ = std::make_shared<std::atomic<bool>>(false);
};

class PickerService final : public ext_proc::ExternalProcessor::CallbackService {
 public:
  PickerService(asio::io_context& context, WorkerPool& pool, MediaLoader& loader,
                const EndpointPickerOptions& options)
      : context_(context), pool_(pool), loader_(loader), options_(options) {}

  grpc::ServerBidiReactor<ext_proc::ProcessingRequest, ext_proc::ProcessingResponse>* Process(
      grpc::CallbackServerContext*) override {
    auto call = std::make_shared<ProcessCall>(context_, pool_, loader_, options_);
    call->Begin();
    return call.get();
  }

 private:
  asio::io_context& context_;
  WorkerPool& pool_;
  MediaLoader& loader_;
  const EndpointPickerOptions options_;
};

class PickerServer final : public EndpointPicker {
 public:
  PickerServer(asio::io_context& context, WorkerPool& pool, MediaLoader& loader,
               const EndpointPickerOptions& options)
      : pool_(pool), service_(context, pool, loader, options) {}
  ~PickerServer() override { Stop(); }

  absl::Status Listen(const std::string& host, int port) {
    const std::string address = ListenAddress(host, port);
    grpc::ServerBuilder builder;
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    if (server_ == nullptr || port_ == 0) {
      return absl::UnavailableError(
          absl::StrCat("cannot listen on ", address,
                       " for endpoint picking: the port is in use or not allowed; stop what uses "
                       "it or choose another --ext_proc_port"));
    }
    health_thread_ = std::thread([this] { TellHealth(); });
    return absl::OkStatus();
  }

  int port() const override { return port_; }

  void Stop() override {
    if (server_ == nullptr) return;
    {
      absl::MutexLock lock(&mutex_);
      stopping_ = true;
    }
    health_thread_.join();
    server_->Shutdown(std::chrono::system_clock::now());
    server_->Wait();
    server_ = nullptr;
  }

 private:
  void TellHealth() {
    grpc::HealthCheckServiceInterface& health = *server_->GetHealthCheckService();
    health.SetServingStatus("liveness", true);
    absl::MutexLock lock(&mutex_);
    do {
      const bool ready = pool_.ready();
      health.SetServingStatus("readiness", ready);
      health.SetServingStatus(ext_proc::ExternalProcessor::service_full_name(), ready);
    } while (!mutex_.AwaitWithTimeout(absl::Condition(&stopping_), kHealthInterval));
  }

  WorkerPool& pool_;
  PickerService service_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
  absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread health_thread_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<EndpointPicker>> EndpointPicker::Start(
    asio::io_context& context, WorkerPool& pool, MediaLoader& loader, const std::string& host,
    const EndpointPickerOptions& options) {
  auto server = std::make_unique<PickerServer>(context, pool, loader, options);
  RETURN_IF_ERROR(server->Listen(host, options.port));
  return server;
}

}  // namespace facet
