#include "router/relay.h"

#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace facet {
namespace {

absl::Status ErrorOf(const v1::GenerateReply& reply) {
  switch (reply.error_kind()) {
    case v1::ERROR_KIND_INVALID_ARGUMENT:
      return absl::InvalidArgumentError(reply.error());
    case v1::ERROR_KIND_RESOURCE_EXHAUSTED:
      return absl::ResourceExhaustedError(reply.error());
    case v1::ERROR_KIND_UNAVAILABLE:
      return absl::UnavailableError(reply.error());
    default:
      return absl::InternalError(reply.error());
  }
}

// Whether another worker may answer otherwise.
bool MayGoElsewhere(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsResourceExhausted(status);
}

}  // namespace

Relay::Relay(WorkerPool& pool, v1::GenerateRequest request,
             std::shared_ptr<const LoadedMedia> media, OutputText text, std::function<void()> wake,
             RouterMetrics& metrics, const Options& options)
    : pool_(pool),
      request_(std::move(request)),
      media_(std::move(media)),
      text_(std::move(text)),
      wake_(std::move(wake)),
      metrics_(metrics),
      options_(options) {}

absl::Status Relay::Start() { return Place(); }

absl::Status Relay::Place() {
  // A new mailbox, so that nothing of an earlier try is read.
  mailbox_ = std::make_shared<Mailbox>(wake_, options_.waiting_tokens_max);
  ASSIGN_OR_RETURN(stream_, pool_.Start(request_, media_, tried_, mailbox_));
  tried_.insert(stream_->worker_index);
  return absl::OkStatus();
}

absl::Status Relay::Take(RelayDelta& delta) {
  if (done_ || mailbox_ == nullptr) return error_;
  Mailbox::Contents contents = mailbox_->TakeAll();
  for (v1::GenerateReply& reply : contents.replies) {
    RETURN_IF_ERROR(TakeReply(reply, delta));
    if (done_) return absl::OkStatus();
  }
  return contents.lost.ok() ? absl::OkStatus() : Lost(contents.lost);
}

absl::Status Relay::TakeReply(v1::GenerateReply& reply, RelayDelta& delta) {
  if (reply.finish_reason() == v1::FINISH_REASON_ERROR) return Lost(ErrorOf(reply));
  if (reply.finish_reason() == v1::FINISH_REASON_CANCELLED) {
    return Lost(absl::UnavailableError("The worker gave up this request; try again."));
  }
  const bool with_logprobs =
      request_.sampling().want_logprobs() && reply.logprobs_size() == reply.tokens_size();
  for (v1::TokenLogprobs& logprobs : *reply.mutable_prompt_logprobs()) {
    delta.prompt_logprobs.push_back(std::move(logprobs));
  }
  for (int i = 0; i < reply.tokens_size(); ++i) {
    TakeToken(static_cast<int>(reply.tokens(i)),
              with_logprobs ? reply.mutable_logprobs(i) : nullptr, delta);
    if (text_.stopped()) {
      Cancel();
      End(v1::FINISH_REASON_STOP, delta);
      return absl::OkStatus();
    }
  }
  if (reply.finish_reason() == v1::FINISH_REASON_UNSPECIFIED) return absl::OkStatus();
  ledger_ = reply.ledger();
  stream_.reset();
  text_.Finish(delta.text);
  // What was held back may hold a stop string.
  End(text_.stopped() ? v1::FINISH_REASON_STOP : reply.finish_reason(), delta);
  return absl::OkStatus();
}

void Relay::TakeToken(int id, v1::TokenLogprobs* logprobs, RelayDelta& delta) {
  ++generated_tokens_;
  text_.Add(id, delta.text);
  if (IsStop(id) && !options_.keep_stop_token) return;
  delta.tokens.push_back(id);
  if (logprobs != nullptr) delta.logprobs.push_back(std::move(*logprobs));
}

void Relay::End(v1::FinishReason reason, RelayDelta& delta) {
  done_ = true;
  delta.finish_reason = reason;
}

absl::Status Relay::Lost(const absl::Status& reason) {
  stream_.reset();
  if (generated_tokens_ == 0 && MayGoElsewhere(reason) &&
      static_cast<int>(tried_.size()) < options_.tries_max && Place().ok()) {
    metrics_.replaced_requests.Increment();
    return absl::OkStatus();
  }
  done_ = true;
  error_ = reason;
  return error_;
}

void Relay::Cancel() {
  if (!stream_.has_value()) return;
  stream_->worker->Cancel(stream_->id);
  stream_.reset();
}

bool Relay::IsStop(int id) const { return absl::c_linear_search(request_.stop_tokens(), id); }

}  // namespace facet
