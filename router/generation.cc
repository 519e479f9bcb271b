#include "router/generation.h"

#include <utility>

#include "absl/algorithm/container.h"
#include "absl/random/random.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "router/api/api_error.h"
#include "router/api/model_name.h"
#include "router/text/prompt_builder.h"

namespace facet {
namespace {

// Between two tries of an answer that lost its worker to find another.
constexpr int kLookForWorkerMs = 25;

double SecondsBetween(std::chrono::steady_clock::time_point from,
                      std::chrono::steady_clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

uint64_t DrawSeed() {
  static thread_local absl::BitGen random;
  return absl::Uniform<uint64_t>(random);
}

// The label in facet_requests_total.
const char* OutcomeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return "finished";
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
      return "invalid";
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kPermissionDenied:
      return "denied";
    case absl::StatusCode::kResourceExhausted:
      return "shed";
    case absl::StatusCode::kUnavailable:
      return "unavailable";
    case absl::StatusCode::kDeadlineExceeded:
      return "deadline";
    default:
      return "error";
  }
}

bool IsShed(const absl::Status& status) {
  return absl::IsResourceExhausted(status) || absl::IsUnavailable(status);
}

// As an answer of no tokens would be.
void HideAnswer(RelayDelta& delta) {
  delta.text = OutputParser::Delta();
  delta.tokens.clear();
  delta.logprobs.clear();
  if (delta.finish_reason == v1::FINISH_REASON_STOP) {
    delta.finish_reason = v1::FINISH_REASON_LENGTH;
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Generation>> Generation::Start(
    WorkerPool& pool, RouterMetrics& metrics, GenerationRequest request,
    boost::asio::any_io_executor executor) {
  absl::StatusOr<std::shared_ptr<const ServedModel>> model =
      pool.FindModel(request.model, &request.adapter_digest);
  if (!model.ok()) {
    CountRefused(metrics, request.endpoint, model.status());
    return model.status();
  }
  const std::string name =
      NameWithAdapter(**model, AdapterOfModelName(**model, request.model).value_or(""));
  if (const absl::Status allowed = request.tenant->CheckModel(name); !allowed.ok()) {
    CountRefused(metrics, request.endpoint, allowed);
    return allowed;
  }
  request.cache_salt = request.tenant->cache_salt();
  request.priority = static_cast<int32_t>(request.tenant->PriorityOf(request.priority));
  auto generation = std::unique_ptr<Generation>(
      new Generation(metrics, std::move(request), *std::move(model), std::move(executor)));
  generation->error_ = generation->StartChoices(pool);
  if (!generation->error_.ok()) return generation->error_;
  return generation;
}

void Generation::CountRefused(RouterMetrics& metrics, const char* endpoint,
                              const absl::Status& status) {
  metrics.CountRequest(endpoint, OutcomeOf(status));
  if (!IsShed(status)) return;
  std::string reason = CodeOf(status);
  if (reason.empty()) reason = absl::IsUnavailable(status) ? "no_worker" : "workers_full";
  metrics.shed_requests.Add({{"reason", std::move(reason)}}).Increment();
}

Generation::Generation(RouterMetrics& metrics, GenerationRequest request,
                       std::shared_ptr<const ServedModel> model,
                       boost::asio::any_io_executor executor)
    : metrics_(metrics),
      request_(std::move(request)),
      model_(std::move(model)),
      wake_(std::make_shared<Wake>(std::move(executor))) {
  metrics_.requests_running.Increment();
}

Generation::~Generation() { CountEnd(); }

void Generation::CountEnd() {
  if (std::exchange(counted_, true)) return;
  metrics_.requests_running.Decrement();
  metrics_.request_duration_seconds.Observe(SecondsBetween(received_, Clock::now()));
  CountTenant();
  metrics_.generated_tokens.Increment(usage().completion_tokens);
  if (!error_.ok()) {
    CountRefused(metrics_, request_.endpoint, error_);
  } else if (abandoned_ || !done()) {
    metrics_.CountRequest(request_.endpoint, "cancelled");
  } else {
    metrics_.CountRequest(request_.endpoint, deadline_ ? "deadline" : "finished");
  }
}

// How much of a prompt was cached is known at the end of its answer; of one that was broken off,
// what was expected counts.
void Generation::CountTenant() {
  const TenantMetrics& metrics = tenant().metrics();
  (IsShed(error_) ? metrics.shed_requests : metrics.admitted_requests)->Increment();
  const Usage used = usage();
  double computed = 0;
  if (done() && error_.ok()) {
    computed = used.prompt_tokens - used.cached_prompt_tokens;
  } else if (placed()) {
    computed = tenant().limits_tokens() ? expected_prompt_tokens_ : used.prompt_tokens;
  }
  metrics.prompt_tokens->Increment(computed);
  metrics.cached_prompt_tokens->Increment(used.cached_prompt_tokens);
  metrics.generated_tokens->Increment(used.completion_tokens);
  request_.tenant->SetUsedTokens(computed + used.completion_tokens);
}

absl::Status Generation::StartChoices(WorkerPool& pool) {
  ASSIGN_OR_RETURN(std::vector<BuiltChoice> built, BuildChoices(*model_, request_, DrawSeed));
  RETURN_IF_ERROR(TakeTokens(pool, built));
  for (BuiltChoice& choice : built) {
    OutputText::Options options;
    options.parse_chat = request_.parse_chat;
    options.parser.starts_in_channel = choice.starts_in_channel;
    options.parser.parse_tool_calls = request_.parse_tool_calls;
    options.stop = request_.stop;
    Relay::Options relay_options;
    // The older form of log probabilities has an entry for each token that usage counts.
    relay_options.keep_stop_token = !request_.parse_chat && request_.sampling.want_logprobs;
    std::string echo = std::move(choice.echo);
    auto relay = std::make_unique<Relay>(
        pool, request_.tenant, std::move(choice), OutputText(model_->vocabulary, options),
        [wake = wake_] { wake->Set(); }, metrics_, relay_options);
    RETURN_IF_ERROR(relay->Start());
    choices_.push_back(Choice{std::move(relay), std::move(echo)});
  }
  metrics_.prompt_tokens.Increment(usage().prompt_tokens);
  return absl::OkStatus();
}

absl::Status Generation::TakeTokens(const WorkerPool& pool,
                                    const std::vector<BuiltChoice>& choices) {
  if (!tenant().limits_tokens()) return absl::OkStatus();
  double answer_tokens = 0;
  for (size_t i = 0; i < choices.size(); ++i) {
    const RequestCost cost = pool.CostOf(choices[i].request, choices[i].page_keys);
    answer_tokens += cost.answer_tokens;
    // The answers to one prompt compute it once.
    if (i % request_.choices_per_prompt == 0) expected_prompt_tokens_ += cost.prompt_tokens;
  }
  return request_.tenant->TakeTokens(expected_prompt_tokens_ + answer_tokens);
}

boost::asio::awaitable<void> Generation::Wait(int timeout_ms) {
  const bool homeless = absl::c_any_of(
      choices_, [](const Choice& choice) { return choice.relay->waits_for_worker(); });
  return wake_->Wait(homeless ? std::min(timeout_ms, kLookForWorkerMs) : timeout_ms);
}

absl::StatusOr<std::vector<Generation::ChoiceDelta>> Generation::Take() {
  std::vector<ChoiceDelta> deltas;
  for (int i = 0; i < choice_count(); ++i) {
    Choice& choice = choices_[i];
    if (choice.relay->done()) continue;
    ChoiceDelta next{i, RelayDelta()};
    error_.Update(choice.relay->Take(next.delta));
    if (!error_.ok()) {
      for (Choice& other : choices_) other.relay->Cancel();
      CountEnd();
      return error_;
    }
    if (request_.prompt_only) HideAnswer(next.delta);
    const bool last = next.delta.finish_reason != v1::FINISH_REASON_UNSPECIFIED;
    if (next.delta.tokens.empty() && next.delta.text.empty() &&
        next.delta.prompt_logprobs.empty() && !last) {
      continue;
    }
    Measure(choice, next.delta);
    deltas.push_back(std::move(next));
  }
  if (done()) CountEnd();
  return deltas;
}

// Tokens that came in one message (drafts) share the time since the one before.
void Generation::Measure(Choice& choice, const RelayDelta& delta) {
  const Clock::time_point now = Clock::now();
  if (!delta.tokens.empty()) {
    if (!first_token_seen_) {
      metrics_.time_to_first_token_seconds.Observe(SecondsBetween(received_, now));
    }
    first_token_seen_ = true;
    if (choice.started) {
      const double each = SecondsBetween(choice.last_token, now) / delta.tokens.size();
      for (size_t i = 0; i < delta.tokens.size(); ++i) {
        metrics_.inter_token_latency_seconds.Observe(each);
      }
    }
    choice.started = true;
    choice.last_token = now;
  }
  if (delta.finish_reason == v1::FINISH_REASON_UNSPECIFIED) return;
  deadline_ |= delta.finish_reason == v1::FINISH_REASON_DEADLINE;
  const v1::Ledger& ledger = choice.relay->ledger();
  metrics_.queue_wait_seconds.Observe(choice.relay->queue_wait_s() + ledger.queue_us() * 1e-6);
  const std::pair<const char*, uint32_t> tiers[] = {{"device", ledger.cached_device_tokens()},
                                                    {"host", ledger.cached_host_tokens()},
                                                    {"disk", ledger.cached_disk_tokens()},
                                                    {"peer", ledger.cached_peer_tokens()}};
  for (const auto& [tier, tokens] : tiers) {
    if (tokens > 0) metrics_.cached_prompt_tokens.Add({{"tier", tier}}).Increment(tokens);
  }
}

void Generation::Abandon() {
  abandoned_ = true;
  for (Choice& choice : choices_) choice.relay->Cancel();
  CountEnd();
  wake_->Set();
}

bool Generation::done() const {
  return absl::c_all_of(choices_, [](const Choice& choice) { return choice.relay->done(); });
}

bool Generation::placed() const {
  return absl::c_any_of(choices_, [](const Choice& choice) { return choice.relay->placed(); });
}

// A prompt counts once, however many answers it has.
Usage Generation::usage() const {
  Usage usage;
  for (int i = 0; i < choice_count(); ++i) {
    const Relay& relay = *choices_[i].relay;
    usage.completion_tokens += request_.prompt_only ? 0 : relay.generated_tokens();
    usage.reasoning_tokens += relay.reasoning_tokens();
    if (i % request_.choices_per_prompt != 0) continue;
    usage.prompt_tokens += relay.prompt_tokens();
    usage.cached_prompt_tokens += static_cast<int>(relay.ledger().cached_tokens());
  }
  return usage;
}

}  // namespace facet
