#include "router/grpc_service.h"

#include <atomic>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>
#include <boost/json.hpp>
#include <boost/json/object.hpp>
#include <memory>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "router/admission/bearer.h"
#include "router/api/api_error.h"
#include "router/api/json_fields.h"
#include "router/api/openai_request.h"
#include "router/api/structured_output.h"
#include "router/generation.h"

namespace facet {
namespace {

namespace asio = boost::asio;
using Strand = asio::strand<asio::io_context::executor_type>;

// How often a call looks around while nothing comes; whatever comes wakes it.
constexpr int kWaitMs = 60'000;

absl::Status CheckRange(const char* name, double value, double least, double most) {
  if (value >= least && value <= most) return absl::OkStatus();
  return InvalidParam(name, absl::StrCat("`", name, "` must be from ", least, " to ", most,
                                         ", but is ", value, "."));
}

absl::StatusOr<SamplingOptions> ReadSampling(const v1::Sampling& sampling) {
  RETURN_IF_ERROR(CheckRange("sampling.temperature", sampling.temperature(), 0, 2));
  RETURN_IF_ERROR(CheckRange("sampling.top_p", sampling.top_p(), 0, 1));
  RETURN_IF_ERROR(CheckRange("sampling.min_p", sampling.min_p(), 0, 1));
  RETURN_IF_ERROR(CheckRange("sampling.presence_penalty", sampling.presence_penalty(), -2, 2));
  RETURN_IF_ERROR(CheckRange("sampling.frequency_penalty", sampling.frequency_penalty(), -2, 2));
  RETURN_IF_ERROR(CheckRange("sampling.repetition_penalty", sampling.repetition_penalty(), 0, 10));
  RETURN_IF_ERROR(CheckRange("sampling.top_logprobs", sampling.top_logprobs(), 0, 20));
  SamplingOptions options;
  options.temperature = sampling.temperature();
  options.top_k = sampling.top_k();
  options.top_p = sampling.top_p() == 0 ? 1 : sampling.top_p();
  options.min_p = sampling.min_p();
  if (sampling.has_seed()) options.seed = sampling.seed();
  options.presence_penalty = sampling.presence_penalty();
  options.frequency_penalty = sampling.frequency_penalty();
  options.repetition_penalty =
      sampling.repetition_penalty() == 0 ? 1 : sampling.repetition_penalty();
  for (const auto& [id, bias] : sampling.logit_bias()) {
    RETURN_IF_ERROR(CheckRange("sampling.logit_bias", bias, -100, 100));
    options.logit_bias[id] = bias;
  }
  return options;
}

// As if they had come in a JSON body.
absl::Status ReadStructuredOutputs(const v1::StructuredOutputs& message,
                                   StructuredOutput& structure) {
  boost::json::object named;
  if (!message.json().empty()) named["json"] = message.json();
  if (!message.regex().empty()) named["regex"] = message.regex();
  if (!message.grammar().empty()) named["grammar"] = message.grammar();
  if (!message.choice().empty()) {
    named["choice"] = boost::json::array(message.choice().begin(), message.choice().end());
  }
  const boost::json::object body = {{"structured_outputs", std::move(named)}};
  return ParseStructuredOutput(JsonFields(body, ""), structure);
}

absl::StatusOr<GenerationRequest> ReadRequest(const v1::GenerateTextRequest& message) {
  GenerationRequest request;
  switch (message.prompt_case()) {
    case v1::GenerateTextRequest::kText:
      request.prompts.emplace_back(message.text());
      break;
    case v1::GenerateTextRequest::kChatJson: {
      ASSIGN_OR_RETURN(request, ParseChatRequest(message.chat_json()));
      break;
    }
    case v1::GenerateTextRequest::kTokens: {
      std::vector<int> ids(message.tokens().ids().begin(), message.tokens().ids().end());
      request.prompts.emplace_back(std::move(ids));
      break;
    }
    case v1::GenerateTextRequest::PROMPT_NOT_SET:
      return InvalidParam("prompt", "`prompt` is required: `text`, `chat_json` or `tokens`.");
  }
  request.endpoint = "grpc";
  if (!message.model().empty()) request.model = message.model();
  if (message.has_sampling()) {
    ASSIGN_OR_RETURN(request.sampling, ReadSampling(message.sampling()));
  }
  if (message.tokens_max() > 0) request.tokens_max = message.tokens_max();
  if (message.stop_size() > 16) return InvalidParam("stop", "`stop` has more than 16 strings.");
  for (const std::string& stop : message.stop()) {
    if (stop.empty()) return InvalidParam("stop", "`stop` has an empty string.");
    request.stop.push_back(stop);
  }
  if (request.choices_per_prompt != 1) return InvalidParam("n", "`n` must be 1 over gRPC.");
  request.deadline_ms = message.deadline_ms();
  RETURN_IF_ERROR(ReadStructuredOutputs(message.structured_outputs(), request.structure));
  return request;
}

// Of the metadata `authorization` ("Bearer KEY") or `x-api-key`.
absl::string_view ApiKey(const grpc::CallbackServerContext& context) {
  const auto& metadata = context.client_metadata();
  const auto value_of = [&](const char* name) {
    const auto found = metadata.find(name);
    return found == metadata.end() ? absl::string_view()
                                   : absl::string_view(found->second.data(), found->second.size());
  };
  absl::string_view key = value_of("authorization");
  return ConsumeBearer(key) ? key : value_of("x-api-key");
}

v1::GenerateTextReply ToReply(const RelayDelta& delta, const Generation& generation) {
  v1::GenerateTextReply reply;
  reply.set_content(delta.text.content);
  reply.set_reasoning(delta.text.reasoning);
  for (const OutputParser::ToolCallDelta& call : delta.text.tool_calls) {
    v1::ToolCallDelta& target = *reply.add_tool_calls();
    target.set_index(call.index);
    if (!call.name.empty()) target.set_id(absl::StrCat("call_", call.index));
    target.set_name(call.name);
    target.set_arguments(call.arguments);
  }
  reply.mutable_tokens()->Add(delta.tokens.begin(), delta.tokens.end());
  reply.set_finish_reason(delta.finish_reason);
  if (delta.finish_reason != v1::FINISH_REASON_UNSPECIFIED) {
    const Usage usage = generation.usage();
    reply.mutable_usage()->set_prompt_tokens(usage.prompt_tokens);
    reply.mutable_usage()->set_completion_tokens(usage.completion_tokens);
    reply.mutable_usage()->set_cached_prompt_tokens(usage.cached_prompt_tokens);
  }
  return reply;
}

// One call. Its state belongs to the strand; gRPC's callbacks post there. It is owned by itself
// and by what was posted: gRPC's own share ends with OnDone.
class GenerateCall final : public grpc::ServerWriteReactor<v1::GenerateTextReply>,
                           public std::enable_shared_from_this<GenerateCall> {
 public:
  GenerateCall(asio::io_context& context, WorkerPool& pool, const Tenants& tenants,
               MediaLoader& loader, RouterMetrics& metrics,
               grpc::CallbackServerContext* server_context)
      : strand_(asio::make_strand(context)),
        pool_(pool),
        tenants_(tenants),
        loader_(loader),
        metrics_(metrics),
        server_context_(server_context) {}

  void Begin(v1::GenerateTextRequest request) {
    grpc_share_ = shared_from_this();
    asio::co_spawn(
        strand_,
        [self = shared_from_this(), request = std::move(request)]() -> asio::awaitable<void> {
          co_await self->Run(request);
        },
        asio::detached);
  }

  void OnWriteDone(bool ok) override {
    asio::post(strand_, [self = shared_from_this(), ok] {
      self->writing_ = false;
      if (!ok && self->generation_ != nullptr) self->generation_->Abandon();
      if (self->generation_ != nullptr) self->generation_->wake()->Set();
    });
  }
  void OnCancel() override {
    asio::post(strand_, [self = shared_from_this()] {
      *self->cancelled_ = true;
      if (self->generation_ != nullptr) self->generation_->Abandon();
    });
  }
  void OnDone() override { const std::shared_ptr<GenerateCall> share = std::move(grpc_share_); }

 private:
  asio::awaitable<void> Run(const v1::GenerateTextRequest& message) {
    const absl::Status status = co_await Generate(message);
    // A reply must not be freed while it is written.
    while (writing_) co_await generation_->Wait(kWaitMs);
    generation_ = nullptr;
    Finish(ToGrpc(status));
  }

  asio::awaitable<absl::Status> Generate(const v1::GenerateTextRequest& message) {
    absl::StatusOr<GenerationRequest> request = Admit(message);
    if (request.ok()) {
      const absl::Status loaded = co_await loader_.Load(*request, pool_.model(), cancelled_);
      if (!loaded.ok()) request = loaded;
    }
    if (!request.ok()) {
      Generation::CountRefused(metrics_, "grpc", request.status());
      co_return request.status();
    }
    auto generation = Generation::Start(pool_, metrics_, *std::move(request), strand_);
    if (!generation.ok()) co_return generation.status();
    generation_ = *std::move(generation);
    if (*cancelled_) generation_->Abandon();
    bool finished = false;
    while (!generation_->abandoned() && !finished) {
      // One write at a time: what comes meanwhile waits in the mailbox, under its bound.
      if (!writing_) {
        const auto deltas = generation_->Take();
        if (!deltas.ok()) co_return deltas.status();
        if (!deltas->empty()) {
          reply_ = ToReply(deltas->front().delta, *generation_);
          finished = reply_.finish_reason() != v1::FINISH_REASON_UNSPECIFIED;
          writing_ = true;
          StartWrite(&reply_);
          continue;
        }
      }
      co_await generation_->Wait(kWaitMs);
    }
    co_return finished ? absl::OkStatus() : absl::CancelledError("The client left.");
  }

  absl::StatusOr<GenerationRequest> Admit(const v1::GenerateTextRequest& message) {
    ASSIGN_OR_RETURN(std::shared_ptr<Tenant> owner, tenants_.Find(ApiKey(*server_context_)));
    ASSIGN_OR_RETURN(std::shared_ptr<TenantRequest> tenant, TenantRequest::Begin(std::move(owner)));
    ASSIGN_OR_RETURN(GenerationRequest request, ReadRequest(message));
    request.tenant = std::move(tenant);
    return request;
  }

  grpc::Status ToGrpc(const absl::Status& status) {
    if (const int seconds = RetryAfterSeconds(status); seconds > 0) {
      server_context_->AddTrailingMetadata("retry-after-s", absl::StrCat(seconds));
    }
    return grpc::Status(static_cast<grpc::StatusCode>(status.code()),
                        std::string(status.message()));
  }

  Strand strand_;
  WorkerPool& pool_;
  const Tenants& tenants_;
  MediaLoader& loader_;
  RouterMetrics& metrics_;
  grpc::CallbackServerContext* const server_context_;  // gRPC's; until Finish.
  std::shared_ptr<GenerateCall> grpc_share_;           // Until OnDone.
  std::unique_ptr<Generation> generation_;
  v1::GenerateTextReply reply_;
  bool writing_ = false;
  // Shared with the threads that decode media.
  const std::shared_ptr<std::atomic<bool>> cancelled_ = std::make_shared<std::atomic<bool>>(false);
};

}  // namespace

grpc::ServerWriteReactor<v1::GenerateTextReply>* GrpcService::Generate(
    grpc::CallbackServerContext* server_context, const v1::GenerateTextRequest* request) {
  auto call =
      std::make_shared<GenerateCall>(context_, pool_, tenants_, loader_, metrics_, server_context);
  // The request is gRPC's and may be gone before the coroutine runs.
  call->Begin(*request);
  return call.get();
}

}  // namespace facet
