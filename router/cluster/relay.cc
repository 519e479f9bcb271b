#include "router/cluster/relay.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "proto/request_keys.h"
#include "router/api/api_error.h"

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

Relay::Relay(WorkerPool& pool, std::shared_ptr<const TenantRequest> tenant, BuiltChoice choice,
             OutputText text, std::function<void()> wake, RouterMetrics& metrics,
             const Options& options)
    : pool_(pool),
      tenant_(std::move(tenant)),
      request_(std::move(choice.request)),
      deadline_ms_(request_.deadline_ms()),
      media_(std::move(choice.media)),
      keys_(std::move(choice.page_keys)),
      text_(std::move(text)),
      wake_(std::move(wake)),
      metrics_(metrics),
      options_(options) {}

// Who comes while others wait goes behind them.
absl::Status Relay::Start() {
  if (pool_.line().empty() && Place(/*is_new=*/true).ok()) return absl::OkStatus();
  return EnterLine();
}

absl::Status Relay::Place(bool is_new) {
  std::unique_ptr<Quarantine::Stay> quarantine;
  if (losses_ >= options_.losses_max) {
    quarantine = pool_.quarantine().Enter();
    if (quarantine == nullptr) return absl::UnavailableError("Another one is in quarantine.");
  }
  // A new mailbox, so that nothing of an earlier try is read.
  mailbox_ = std::make_shared<Mailbox>(wake_, options_.waiting_tokens_max);
  ASSIGN_OR_RETURN(
      stream_, pool_.Start(request_, {numerics_class_, tried_, media_, keys_, is_new}, mailbox_));
  stream_->quarantine = std::move(quarantine);
  stream_->at_worker = pool_.line().CountAtWorker(tenant_->tenant(), tenant_->weight());
  placed_at_ = Clock::now();
  tried_.insert(stream_->address_digest);
  worker_ = stream_->address;
  why_ = stream_->why;
  return absl::OkStatus();
}

absl::Status Relay::EnterLine() {
  const RequestCost cost = pool_.CostOf(request_, keys_);
  QueuedAnswer answer;
  answer.tenant = tenant_->tenant();
  answer.weight = tenant_->weight();
  answer.lane = WorkerPool::LaneOf(request_);
  answer.tokens = std::max(1.0, cost.prompt_tokens + cost.answer_tokens);
  answer.prompt_tokens = cost.prompt_tokens;
  answer.bytes = request_.ByteSizeLong();
  answer.deadline_s = std::numeric_limits<double>::infinity();
  if (deadline_ms_ > 0) {
    const auto deadline = started_ + std::chrono::milliseconds(deadline_ms_);
    answer.deadline_s = std::chrono::duration<double>(deadline.time_since_epoch()).count() -
                        pool_.ServiceSecondsOf(request_, keys_);
  }
  entered_line_ = Clock::now();
  ASSIGN_OR_RETURN(ticket_, pool_.line().Enter(std::move(answer), tenant_->metrics(), wake_));
  return absl::OkStatus();
}

absl::Status Relay::TakeTurn() {
  const absl::StatusOr<WaitingLine::Turn> turn = ticket_->Look();
  if (turn.ok() && *turn == WaitingLine::Turn::kNotYet) return absl::OkStatus();
  queue_wait_s_ += std::chrono::duration<double>(Clock::now() - entered_line_).count();
  entered_line_ = Clock::now();
  if (!turn.ok()) return Fail(turn.status());
  if (!SetTimeLeft()) {
    return Fail(WithParam(
        absl::UnavailableError("The request waited for a worker until its deadline; try again "
                               "later."),
        /*param=*/"", "deadline"));
  }
  const bool claims = *turn == WaitingLine::Turn::kClaim;
  // The worker lets one of a lower priority wait for it.
  if (claims) request_.set_priority(request_.priority() + 1);
  if (Place(/*is_new=*/!claims).ok()) {
    ticket_ = nullptr;
  } else {
    if (claims) request_.set_priority(request_.priority() - 1);
    ticket_->WaitOn();
  }
  return absl::OkStatus();
}

bool Relay::SetTimeLeft() {
  if (deadline_ms_ == 0) return true;
  using std::chrono::milliseconds;
  const auto left = std::chrono::duration_cast<milliseconds>(started_ + milliseconds(deadline_ms_) -
                                                             Clock::now());
  if (left.count() <= 0) return false;
  request_.set_deadline_ms(static_cast<uint32_t>(left.count()));
  return true;
}

absl::Status Relay::Take(RelayDelta& delta) {
  if (!done_ && ticket_ != nullptr) RETURN_IF_ERROR(TakeTurn());
  if (done_ || ticket_ != nullptr || mailbox_ == nullptr) return error_;
  if (!stream_.has_value()) return GoOn(delta);
  Mailbox::Contents contents = mailbox_->TakeAll();
  for (v1::GenerateReply& reply : contents.replies) {
    RETURN_IF_ERROR(TakeReply(reply, delta));
    if (done_) return absl::OkStatus();
  }
  if (contents.lost.ok()) return absl::OkStatus();
  if (!MayGoElsewhere(contents.lost)) return Fail(contents.lost);
  ++losses_;
  return Lost(contents.lost, "worker_lost", delta);
}

absl::Status Relay::TakeReply(v1::GenerateReply& reply, RelayDelta& delta) {
  if (reply.finish_reason() == v1::FINISH_REASON_ERROR) {
    const absl::Status error = ErrorOf(reply);
    if (!MayGoElsewhere(error)) return Fail(error);
    ++refusals_;
    return Lost(error, "worker_full", delta);
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
      pool_.CountAnswer(generated_tokens_, /*seconds=*/0, /*expected_s=*/0);
      Cancel();
      End(v1::FINISH_REASON_STOP, delta);
      return absl::OkStatus();
    }
  }
  if (reply.finish_reason() == v1::FINISH_REASON_CANCELLED) {
    ++refusals_;
    return Lost(absl::UnavailableError("The worker gave up this request; try again."),
                "worker_stopping", delta);
  }
  if (reply.finish_reason() == v1::FINISH_REASON_UNSPECIFIED) return absl::OkStatus();
  ledger_ = reply.ledger();
  const double took_s = std::chrono::duration<double>(Clock::now() - placed_at_).count();
  if (reply.finish_reason() == v1::FINISH_REASON_DEADLINE) {
    pool_.CountLateAnswer();
  } else {
    pool_.CountAnswer(generated_tokens_, took_s, stream_->service_s);
  }
  stream_.reset();
  text_.Finish(delta.text);
  // What was held back may hold a stop string.
  End(text_.stopped() ? v1::FINISH_REASON_STOP : reply.finish_reason(), delta);
  return absl::OkStatus();
}

void Relay::TakeToken(int id, v1::TokenLogprobs* logprobs, RelayDelta& delta) {
  ++generated_tokens_;
  request_.add_resume_from(id);
  request_.clear_prompt_logprobs();  // They came with the first token.
  numerics_class_ = stream_->numerics_class;
  stream_->expected.Reset();
  stream_->quarantine.reset();
  tried_.clear();
  losses_ = refusals_ = 0;
  lost_at_.reset();
  text_.Add(id, delta.text);
  if (IsStop(id) && !options_.keep_stop_token) return;
  delta.tokens.push_back(id);
  if (logprobs != nullptr) delta.logprobs.push_back(std::move(*logprobs));
}

void Relay::End(v1::FinishReason reason, RelayDelta& delta) {
  done_ = true;
  delta.finish_reason = reason;
}

absl::Status Relay::Lost(const absl::Status& reason, const char* kind, RelayDelta& delta) {
  LogInfo("an answer lost its worker", {{"request_id", request_.request_id()},
                                        {"worker", stream_->address},
                                        {"tokens", generated_tokens_},
                                        {"reason", absl::string_view(reason.message())}});
  tried_.insert(stream_->address_digest);
  stream_.reset();
  lost_reason_ = reason;
  lost_kind_ = kind;
  if (!lost_at_.has_value()) lost_at_ = Clock::now();
  const bool refused = generated_tokens_ == 0 && refusals_ >= options_.refusals_max;
  return refused || losses_ > options_.losses_max ? Fail(reason) : GoOn(delta);
}

absl::Status Relay::GoOn(RelayDelta& delta) {
  if (!SetTimeLeft()) {
    text_.Finish(delta.text);
    End(v1::FINISH_REASON_DEADLINE, delta);
    return absl::OkStatus();
  }
  if (generated_tokens_ > 0) {
    keys_ = std::make_shared<const std::vector<PageKey>>(
        RequestPageKeys(request_, static_cast<int>(pool_.model()->page_tokens)));
  }
  if (!Place(/*is_new=*/false).ok()) {
    tried_.clear();  // By the next look they may be back, or have room.
    if (generated_tokens_ == 0 && losses_ == 0) {
      // Nobody has begun it.
      const absl::Status entered = EnterLine();
      return entered.ok() ? entered : Fail(entered);
    }
    const auto patience = std::chrono::milliseconds(pool_.failover().worker_wait_ms);
    return Clock::now() - *lost_at_ >= patience ? Fail(lost_reason_) : absl::OkStatus();
  }
  metrics_.failovers.Add({{"reason", lost_kind_}, {"exact", stream_->exact ? "true" : "false"}})
      .Increment();
  if (!stream_->exact) {
    LogWarning("an answer goes on in another numerics class",
               {{"request_id", request_.request_id()}, {"worker", stream_->address}});
  }
  return absl::OkStatus();
}

absl::Status Relay::Fail(const absl::Status& reason) {
  ticket_ = nullptr;
  stream_.reset();
  done_ = true;
  error_ = reason;
  return error_;
}

void Relay::Cancel() {
  ticket_ = nullptr;
  if (!stream_.has_value()) return;
  stream_->worker->Cancel(stream_->id);
  stream_.reset();
}

bool Relay::IsStop(int id) const { return absl::c_linear_search(request_.stop_tokens(), id); }

}  // namespace facet
