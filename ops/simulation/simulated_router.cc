#include "ops/simulation/simulated_router.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "proto/request_keys.h"
#include "router/api/api_error.h"

namespace facet {
namespace {

constexpr int kPageTokens = 64;
// As the waiting line's: so often it is looked at while something waits.
constexpr double kTickS = 0.05;
// Between a change and what is decided upon it; changes that come together are decided together.
constexpr double kDecisionS = 0.0005;
// How long an answer without a worker waits before it is tried again.
constexpr double kRetryS = 0.05;
// As Relay::Options.
constexpr int kLossesMax = 2, kRefusalsMax = 3;

}  // namespace

// As Relay: one answer from its arrival to its end.
struct SimulatedRouter::Answer {
  const TraceRequest* trace;
  RequestRecord* record;
  std::vector<float>* pauses_s;
  double arrived_s;
  v1::GenerateRequest request;
  SharedPageKeys keys;
  std::optional<uint64_t> line_id;  // While it is in the line.
  // At a worker, while stream is not 0.
  int worker = -1;
  uint64_t stream = 0;
  uint32_t prefill_tokens = 0;  // 0 once the answer has begun.
  PageDirectory::Expected expected;
  std::set<int> tried;
  int losses = 0, refusals = 0;
  double placed_s = 0, expected_s = 0;  // When it was, and how long it was to take from there.
  double lost_s = -1;                   // Since when it is without a worker.
};

SimulatedRouter::SimulatedRouter(int index, const Options& options, const CostTable& costs,
                                 EventQueue& events,
                                 std::vector<std::unique_ptr<SimulatedWorker>>& workers)
    : index_(index),
      options_(options),
      costs_(costs),
      events_(events),
      workers_(workers),
      directory_(options.index_pages_max),
      line_(options.line),
      links_(workers.size()) {
  shape_.page_tokens = kPageTokens;
  shape_.window_pages = (costs.sliding_window_tokens + kPageTokens - 1) / kPageTokens;
  directory_.SetWindow(shape_.window_pages);
  for (size_t i = 0; i < workers.size(); ++i) {
    addresses_.push_back(SimulatedWorker::AddressOf(static_cast<int>(i)));
    address_digests_.push_back(ContentOf(addresses_.back()));
  }
  for (Link& link : links_) link.ready = true;
}

SimulatedRouter::~SimulatedRouter() = default;

std::vector<WorkerSnapshot> SimulatedRouter::Snapshots() const {
  std::vector<WorkerSnapshot> snapshots(links_.size());
  for (size_t i = 0; i < links_.size(); ++i) {
    WorkerSnapshot& snapshot = snapshots[i];
    snapshot.address = addresses_[i];
    snapshot.address_digest = address_digests_[i];
    snapshot.id = static_cast<int>(i);
    snapshot.ready = links_[i].ready;
    snapshot.capacity =
        static_cast<uint32_t>(costs_.running_requests_max + costs_.waiting_requests_max);
    snapshot.running_max = static_cast<uint32_t>(costs_.running_requests_max);
    snapshot.numerics_class = 1;
    if (costs_.host_tier_bytes > 0) {
      snapshot.full_page_bytes = static_cast<uint64_t>(costs_.full_page_bytes);
      snapshot.sliding_page_bytes = static_cast<uint64_t>(costs_.sliding_page_bytes);
    }
    links_[i].load.AddTo(snapshot);
  }
  return snapshots;
}

// ------------------------------------------------------------------ as Relay and WorkerPool do

void SimulatedRouter::Arrive(const TraceRequest& trace, uint64_t seed, RequestRecord& record,
                             std::vector<float>& pauses_s) {
  auto answer = std::make_unique<Answer>();
  answer->trace = &trace;
  answer->record = &record;
  answer->pauses_s = &pauses_s;
  answer->arrived_s = events_.now_s();
  std::vector<uint32_t> ids;
  ids.reserve(trace.prompt_tokens());
  AppendTokens(trace, ids);
  answer->request.mutable_prompt_tokens()->Add(ids.begin(), ids.end());
  answer->request.set_tokens_max(trace.answer_tokens);
  answer->request.mutable_sampling()->set_temperature(1);
  answer->request.mutable_sampling()->set_seed(seed);
  answer->request.set_deadline_ms(static_cast<uint32_t>(std::ceil(trace.deadline_s * 1000)));
  answer->keys =
      std::make_shared<const std::vector<PageKey>>(RequestPageKeys(answer->request, kPageTokens));
  const uint64_t id = next_answer_++;
  answers_[id] = std::move(answer);
  // Who comes while others wait goes behind them.
  if (line_.waiting() == 0 && Place(id, /*is_new=*/true).ok()) return;
  EnterLine(id);
}

absl::StatusOr<Placement> SimulatedRouter::Choose(const Situation& situation) {
  if (options_.policy == Policy::kFacet) return facet::Place(situation.workers, situation.wish);
  PlacementWish wish = situation.wish;
  wish.page_tokens = 0;  // Nothing is pulled.
  const std::vector<PlacementEstimate> estimates = EstimateAll(situation.workers, wish);
  const int count = static_cast<int>(estimates.size());
  std::optional<int> best;
  for (int k = 1; k <= count; ++k) {
    const int i = (last_in_turn_ + k) % count;
    const WorkerSnapshot& worker = situation.workers[i];
    if (!IsServing(worker) || estimates[i].requests >= worker.capacity) continue;
    const bool better = !best.has_value() || (options_.policy == Policy::kLeastRequests &&
                                              estimates[i].requests < estimates[*best].requests);
    if (better) best = i;
  }
  if (!best.has_value()) return absl::ResourceExhaustedError("All workers are full.");
  last_in_turn_ = *best;
  return Placement{*best, estimates[*best], /*exact=*/true};
}

absl::Status SimulatedRouter::Place(uint64_t id, bool is_new) {
  Answer& answer = *answers_.at(id);
  Situation situation = SituationOf(answer.request, answer.keys, shape_, directory_, Snapshots());
  for (const int worker : answer.tried) situation.workers[worker].excluded = true;
  if (is_new) RETURN_IF_ERROR(HoldToRoom(absl::MakeSpan(situation.workers)));
  ASSIGN_OR_RETURN(const Placement placement, Choose(situation));
  answer.worker = placement.worker;
  answer.stream = next_stream_++;
  line_.Begin(answer.trace->tenant, options_.tenant_weight);
  answer.prefill_tokens = placement.estimate.computed_tokens;
  answer.expected = directory_.Expect(placement.worker, answer.keys);
  answer.tried.insert(placement.worker);
  answer.placed_s = events_.now_s();
  answer.expected_s = ServiceSeconds(situation, placement.worker, placement.estimate);
  answer.record->worker = placement.worker;
  Link& link = links_[placement.worker];
  link.load.OnStart(answer.prefill_tokens);
  link.answers[answer.stream] = id;
  v1::GenerateRequest request = answer.request;
  if (placement.estimate.source >= 0) {
    *request.mutable_kv_source() = SourceOf(situation, placement.estimate);
  }
  events_.At(events_.now_s() + costs_.message_s,
             [this, worker = placement.worker, life = link.life, stream = answer.stream,
              request = std::move(request)] {
               if (links_[worker].life != life) return;
               const absl::Status started = workers_[worker]->Start(index_, stream, request);
               if (started.ok()) return;
               SimulatedWorker::Output refusal;
               refusal.stream_id = stream;
               refusal.reply.set_finish_reason(v1::FINISH_REASON_ERROR);
               refusal.reply.set_error(std::string(started.message()));
               OnOutputs(worker, {refusal});
             });
  return absl::OkStatus();
}

void SimulatedRouter::EnterLine(uint64_t id) {
  Answer& answer = *answers_.at(id);
  const Situation situation =
      SituationOf(answer.request, answer.keys, shape_, directory_, Snapshots());
  const RequestCost cost = CostOf(situation);
  QueuedAnswer queued;
  queued.tenant = answer.trace->tenant;
  queued.weight = options_.tenant_weight;
  queued.tokens = std::max(1.0, cost.prompt_tokens + cost.answer_tokens);
  queued.prompt_tokens = cost.prompt_tokens;
  queued.bytes = answer.request.ByteSizeLong();
  queued.deadline_s = std::numeric_limits<double>::infinity();
  if (answer.trace->deadline_s > 0) {
    queued.deadline_s = answer.arrived_s + answer.trace->deadline_s -
                        shape_.service_factor * LeastServiceSeconds(situation);
  }
  const auto room = [this](const std::string&) { return Room(); };
  std::vector<LineState::Refused> pushed_out;
  const absl::StatusOr<uint64_t> line_id =
      line_.Enter(std::move(queued), events_.now_s(), room, pushed_out);
  for (const LineState::Refused& refused : pushed_out) {
    Refuse(in_line_.at(refused.id), refused.reason);
  }
  if (!line_id.ok()) return Refuse(id, line_id.status());
  answer.line_id = *line_id;
  in_line_[*line_id] = id;
  DecideSoon();
}

void SimulatedRouter::TakeTurn(uint64_t id, bool claims) {
  Answer& answer = *answers_.at(id);
  const uint64_t line_id = *answer.line_id;
  if (!SetTimeLeft(answer)) {
    line_.Leave(line_id);
    return Refuse(id, WithParam(absl::UnavailableError("It waited until its deadline."),
                                /*param=*/"", "deadline"));
  }
  v1::GenerateRequest& request = answer.request;
  if (claims) request.set_priority(request.priority() + 1);
  if (Place(id, /*is_new=*/!claims).ok()) {
    line_.Leave(line_id);
    in_line_.erase(line_id);
    answer.line_id.reset();
  } else {
    if (claims) request.set_priority(request.priority() - 1);
    line_.WaitOn(line_id);
  }
}

bool SimulatedRouter::SetTimeLeft(Answer& answer) const {
  if (answer.trace->deadline_s == 0) return true;
  const double left_s = answer.arrived_s + answer.trace->deadline_s - events_.now_s();
  if (left_s < 0.001) return false;
  answer.request.set_deadline_ms(static_cast<uint32_t>(left_s * 1000));
  return true;
}

void SimulatedRouter::TakeReply(uint64_t id, const v1::GenerateReply& reply) {
  Answer& answer = *answers_.at(id);
  RequestRecord& record = *answer.record;
  if (reply.finish_reason() == v1::FINISH_REASON_ERROR) {
    ++answer.refusals;
    return Lose(id, "worker_full");
  }
  const double now_s = events_.now_s();
  for (const uint32_t token : reply.tokens()) {
    if (record.first_token_s == 0) record.first_token_s = now_s;
    if (record.last_token_s > 0) {
      answer.pauses_s->push_back(static_cast<float>(now_s - record.last_token_s));
    }
    record.last_token_s = now_s;
    ++record.generated_tokens;
    answer.request.add_resume_from(token);
    answer.expected.Reset();
    answer.tried.clear();
    answer.losses = answer.refusals = 0;
    answer.lost_s = -1;
  }
  if (reply.finish_reason() == v1::FINISH_REASON_UNSPECIFIED) return;
  const v1::Ledger& ledger = reply.ledger();
  record.cached_tokens = static_cast<int>(ledger.cached_tokens());
  record.pulled_tokens = static_cast<int>(ledger.cached_peer_tokens());
  const bool late = reply.finish_reason() == v1::FINISH_REASON_DEADLINE;
  if (late) {
    CountLate(shape_);
  } else {
    CountAnswer(record.generated_tokens, now_s - answer.placed_s, answer.expected_s, shape_);
  }
  End(id, late ? RequestRecord::Outcome::kDeadline : RequestRecord::Outcome::kFinished,
      late ? "deadline" : "");
}

void SimulatedRouter::Lose(uint64_t id, const char* reason) {
  Answer& answer = *answers_.at(id);
  Detach(answer);
  if (answer.lost_s < 0) answer.lost_s = events_.now_s();
  const bool refused = answer.record->generated_tokens == 0 && answer.refusals >= kRefusalsMax;
  if (refused || answer.losses >= kLossesMax) {
    return End(id, RequestRecord::Outcome::kFailed, reason);
  }
  if (answer.record->generated_tokens > 0) {
    answer.keys =
        std::make_shared<const std::vector<PageKey>>(RequestPageKeys(answer.request, kPageTokens));
  }
  GoOn(id);
}

void SimulatedRouter::GoOn(uint64_t id) {
  Answer& answer = *answers_.at(id);
  if (!SetTimeLeft(answer)) return End(id, RequestRecord::Outcome::kDeadline, "deadline");
  if (Place(id, /*is_new=*/false).ok()) {
    ++answer.record->failovers;
    return;
  }
  answer.tried.clear();  // By the next look they may be back, or have room.
  if (answer.record->generated_tokens == 0 && answer.losses == 0) return EnterLine(id);
  if (events_.now_s() - answer.lost_s >= options_.worker_wait_ms * 1e-3) {
    return End(id, RequestRecord::Outcome::kFailed, "worker_lost");
  }
  events_.At(events_.now_s() + kRetryS, [this, id] {
    if (answers_.count(id) > 0) GoOn(id);
  });
}

// ------------------------------------------------------------------ what workers say

void SimulatedRouter::OnOutputs(int worker, std::vector<SimulatedWorker::Output> outputs) {
  Link& link = links_[worker];
  bool changed = false;
  for (const SimulatedWorker::Output& output : outputs) {
    const auto found = link.answers.find(output.stream_id);
    if (found == link.answers.end()) continue;
    const uint64_t id = found->second;
    Answer& answer = *answers_.at(id);
    const bool first = output.reply.tokens_size() > 0 && answer.prefill_tokens > 0;
    if (first) link.load.OnAnswerBegun(std::exchange(answer.prefill_tokens, 0));
    changed |= first || output.reply.finish_reason() != v1::FINISH_REASON_UNSPECIFIED;
    TakeReply(id, output.reply);
  }
  if (changed) DecideSoon();
}

void SimulatedRouter::OnNews(int worker, const v1::Load& load, std::vector<PageEvent> pages) {
  Link& link = links_[worker];
  events_.At(events_.now_s() + options_.news_delay_s,
             [this, worker, life = link.life, load, pages = std::move(pages)] {
               Link& told = links_[worker];
               if (told.life != life || !told.ready) return;
               told.load.OnReport(load);
               directory_.Apply(worker, pages);
               DecideSoon();
             });
}

void SimulatedRouter::OnLost(int worker) {
  Link& link = links_[worker];
  if (!link.ready) return;
  link.ready = false;
  ++link.life;
  link.load.OnLost();
  directory_.RemoveWorker(worker);
  const std::map<uint64_t, uint64_t> lost = std::exchange(link.answers, {});
  for (const auto& [stream, id] : lost) {
    ++answers_.at(id)->losses;
    Lose(id, "worker_lost");
  }
  DecideSoon();
}

void SimulatedRouter::OnReturned(int worker) {
  Link& link = links_[worker];
  if (link.ready) return;
  ++link.life;
  link.ready = true;
  DecideSoon();
}

// ------------------------------------------------------------------ ends and turns

void SimulatedRouter::Detach(Answer& answer) {
  if (answer.stream == 0) return;
  line_.End(answer.trace->tenant);
  Link& link = links_[answer.worker];
  if (link.answers.erase(answer.stream) > 0) {
    link.load.OnAnswerBegun(std::exchange(answer.prefill_tokens, 0));
    link.load.OnEnd();
  }
  answer.prefill_tokens = 0;
  answer.stream = 0;
  answer.expected.Reset();
}

void SimulatedRouter::End(uint64_t id, RequestRecord::Outcome outcome, const std::string& reason) {
  Answer& answer = *answers_.at(id);
  Detach(answer);
  if (answer.line_id.has_value()) in_line_.erase(*answer.line_id);
  answer.record->outcome = outcome;
  answer.record->reason = reason;
  answer.record->end_s = events_.now_s();
  answers_.erase(id);
}

void SimulatedRouter::Refuse(uint64_t id, const absl::Status& reason) {
  answers_.at(id)->record->retry_after_s = RetryAfterSeconds(reason);
  End(id, RequestRecord::Outcome::kRefused, CodeOf(reason));
}

void SimulatedRouter::DecideSoon() {
  if (decision_planned_ || line_.waiting() == 0) return;
  decision_planned_ = true;
  events_.At(events_.now_s() + kDecisionS, [this] {
    decision_planned_ = false;
    Decide();
  });
}

void SimulatedRouter::Decide() {
  const auto room = [this](const std::string&) { return Room(); };
  const LineState::Decision decision = line_.Decide(events_.now_s(), room);
  for (const LineState::Refused& refused : decision.refused) {
    Refuse(in_line_.at(refused.id), refused.reason);
  }
  for (const uint64_t line_id : decision.turns) TakeTurn(in_line_.at(line_id), /*claims=*/false);
  for (const uint64_t line_id : decision.claims) TakeTurn(in_line_.at(line_id), /*claims=*/true);
  if (line_.waiting() == 0 || tick_planned_) return;
  tick_planned_ = true;
  events_.At(events_.now_s() + kTickS, [this] {
    tick_planned_ = false;
    Decide();
  });
}

}  // namespace facet
