#include "router/admission/line_state.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "router/api/api_error.h"

namespace facet {
namespace {

// How often it is looked whether somebody waits for workers that are gone.
constexpr double kForlornIntervalS = 0.05;

absl::Status Refusal(const char* code, absl::string_view message, double retry_after_s) {
  return WithRetryAfter(WithParam(absl::UnavailableError(message), /*param=*/"", code),
                        retry_after_s);
}

}  // namespace

// ------------------------------------------------------------------ who comes, who goes

absl::StatusOr<uint64_t> LineState::Enter(QueuedAnswer answer, double now_s, RoomFunction room,
                                          std::vector<Refused>& refused) {
  rate_.Advance(now_s, queue_.size() > 0 && serving_);
  answer.deadline_s = std::min(answer.deadline_s, now_s + options_.wait_ms_max * 1e-3);
  // Others are there, but none has its adapter: that is for the client to know at once.
  if (!answer.lane.empty() && !room(answer.lane).serving && room("").serving) {
    return Refusal("no_worker", "No worker that could answer is ready; try again later.", 1);
  }
  const std::optional<double> wait_s = WaitOf(answer);
  if (wait_s.has_value() && serving_ && now_s + *wait_s > answer.deadline_s) {
    return Refusal(
        "deadline",
        absl::StrCat("The request would wait about ", static_cast<int>(*wait_s * 1000),
                     " ms for a worker, too long to end by its deadline; try again later."),
        *wait_s - std::max(0.0, answer.deadline_s - now_s));
  }
  const uint64_t id = answer.id = next_id_++;
  entries_.emplace(id, Entry{answer, now_s, /*has_turn=*/false});
  absl::Status own = absl::OkStatus();
  for (const QueuedAnswer& pushed_out : queue_.Push(std::move(answer))) {
    absl::Status reason = Refusal("queue_full", "Too many requests wait already; try again later.",
                                  WaitOf(pushed_out).value_or(1));
    entries_.erase(pushed_out.id);
    if (pushed_out.id == id) {
      own = std::move(reason);
    } else {
      refused.push_back({pushed_out.id, std::move(reason)});
    }
  }
  if (!own.ok()) return own;
  return id;
}

void LineState::WaitOn(uint64_t id) {
  Entry& entry = entries_.at(id);
  if (!entry.has_turn) return;
  EndTurn(entry);
  entry.has_turn = false;
  rate_.Add(-entry.answer.tokens);
  queue_.PushBack(entry.answer);
}

void LineState::Leave(uint64_t id) {
  const auto found = entries_.find(id);
  if (found == entries_.end()) return;
  if (found->second.has_turn) {
    EndTurn(found->second);
  } else {
    queue_.Remove(id);
  }
  entries_.erase(found);
}

void LineState::EndTurn(const Entry& entry) {
  shares_.End(entry.answer.tenant);
  --turns_;
  turn_tokens_ -= entry.answer.prompt_tokens;
  if (turns_ == 0) turn_tokens_ = 0;
}

std::optional<double> LineState::WaitOf(const QueuedAnswer& answer) const {
  const std::optional<double> rate = rate_.tokens_per_s();
  if (!rate.has_value()) return std::nullopt;
  const double tokens = queue_.TokensBefore(answer.tenant, answer.weight, answer.deadline_s);
  return tokens == 0 ? 0 : tokens / std::max(1e-3, *rate);
}

// ------------------------------------------------------------------ when something changes

LineState::Decision LineState::Decide(double now_s, RoomFunction room) {
  Decision decision;
  rate_.Advance(now_s, queue_.size() > 0 && serving_);
  Rooms rooms;
  serving_ = RoomOf("", room, rooms).serving;
  RefuseLate(now_s, decision);
  if (now_s - forlorn_looked_s_ >= kForlornIntervalS) {
    forlorn_looked_s_ = now_s;
    RefuseForlorn(now_s, room, rooms, decision);
  }
  GiveTurns(room, rooms, decision);
  GiveClaims(room, rooms, decision);
  return decision;
}

FleetRoom& LineState::RoomOf(const std::string& lane, RoomFunction room, Rooms& rooms) {
  const auto [found, added] = rooms.try_emplace(lane);
  if (added) {
    found->second = room(lane);
    found->second.room.requests -= turns_;
    found->second.room.prompt_tokens -= static_cast<int64_t>(turn_tokens_);
  }
  return found->second;
}

void LineState::RefuseLate(double now_s, Decision& decision) {
  for (const QueuedAnswer& late : queue_.TakeExpired(now_s)) {
    const double waited_s = WaitedS(late.id, now_s);
    entries_.erase(late.id);
    decision.refused.push_back(
        {late.id, Refusal("deadline",
                          absl::StrCat("The request waited ", static_cast<int>(waited_s * 1000),
                                       " ms for a worker, until its deadline; try again later."),
                          WaitOf(late).value_or(1))});
  }
}

// A lane's patience begins when its last worker goes, and an answer's when it comes.
void LineState::RefuseForlorn(double now_s, RoomFunction room, Rooms& rooms, Decision& decision) {
  const double patience_s = options_.no_worker_wait_ms * 1e-3;
  std::map<std::string, double> unserved_since_s;
  std::vector<uint64_t> forlorn;
  for (const auto& [id, entry] : entries_) {
    const std::string& lane = entry.answer.lane;
    if (entry.has_turn || RoomOf(lane, room, rooms).serving) continue;
    const auto before = unserved_since_s_.find(lane);
    const double since_s = before == unserved_since_s_.end() ? now_s : before->second;
    unserved_since_s[lane] = since_s;
    if (now_s - std::max(since_s, entry.entered_s) >= patience_s) forlorn.push_back(id);
  }
  unserved_since_s_ = std::move(unserved_since_s);
  for (const uint64_t id : forlorn) {
    Leave(id);
    decision.refused.push_back(
        {id, Refusal("no_worker", "No worker is ready; try again later.", 1)});
  }
}

void LineState::GiveTurns(RoomFunction room, Rooms& rooms, Decision& decision) {
  const auto open = [&](const std::string&, const std::string& lane) {
    return RoomOf(lane, room, rooms).room.any();
  };
  while (const std::optional<QueuedAnswer> next = queue_.Pop(open)) {
    GiveTurn(*next, rooms);
    decision.turns.push_back(next->id);
  }
}

void LineState::GiveClaims(RoomFunction room, Rooms& rooms, Decision& decision) {
  if (queue_.size() == 0) return;
  std::map<std::string, RowUse> uses = shares_.uses();
  for (const AdmissionQueue::TenantView& view : queue_.Tenants()) {
    RowUse& use = uses[view.tenant];
    use.weight = view.weight;
    use.waits = true;
  }
  std::map<std::string, int64_t> left = RowsToClaim(RoomOf("", room, rooms).rows, uses);
  const auto open = [&](const std::string& tenant, const std::string& lane) {
    const auto claim = left.find(tenant);
    return claim != left.end() && claim->second > 0 && RoomOf(lane, room, rooms).serving;
  };
  while (const std::optional<QueuedAnswer> next = queue_.Pop(open)) {
    --left[next->tenant];
    GiveTurn(*next, rooms);
    decision.claims.push_back(next->id);
  }
}

void LineState::GiveTurn(const QueuedAnswer& answer, Rooms& rooms) {
  // Workers may be of several lanes, so each lane may have less room now.
  for (auto& [lane, of_lane] : rooms) {
    --of_lane.room.requests;
    of_lane.room.prompt_tokens -= static_cast<int64_t>(answer.prompt_tokens);
  }
  ++turns_;
  turn_tokens_ += answer.prompt_tokens;
  shares_.Begin(answer.tenant, answer.weight);
  rate_.Add(answer.tokens);
  entries_.at(answer.id).has_turn = true;
}

std::vector<LineState::Refused> LineState::RefuseAll() {
  std::vector<Refused> refused;
  for (const auto& [id, entry] : entries_) {
    if (entry.has_turn) continue;
    refused.push_back({id, Refusal("stopping", "The router is stopping; try again.", 1)});
  }
  for (const Refused& each : refused) Leave(each.id);
  return refused;
}

}  // namespace facet
