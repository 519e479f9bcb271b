#include "router/admission/waiting_line.h"

#include <algorithm>
#include <atomic>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/json.hpp>
#include <chrono>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "base/status_macros.h"
#include "router/admission/drain_rate.h"
#include "router/admission/row_shares.h"
#include "router/admission/tenant.h"
#include "router/api/api_error.h"
#include "router/api/json_fields.h"

namespace facet {
namespace {

namespace asio = boost::asio;

constexpr double kTickS = 0.05;

absl::Status Refusal(const char* code, absl::string_view message, double retry_after_s) {
  return WithRetryAfter(WithParam(absl::UnavailableError(message), /*param=*/"", code),
                        retry_after_s);
}

}  // namespace

class WaitingLine::Core : public std::enable_shared_from_this<Core> {
 public:
  Core(asio::io_context& context, const WaitingLineOptions& options, RoomFunction room)
      : options_(options),
        strand_(asio::make_strand(context)),
        timer_(strand_),
        queue_(options.queue),
        room_(std::move(room)) {}

  void Stop();
  absl::StatusOr<std::unique_ptr<Ticket>> Enter(QueuedAnswer answer, const TenantMetrics& metrics,
                                                std::function<void()> wake);
  bool empty() const { return waiting_.load(std::memory_order_relaxed) == 0; }
  void Notify();
  boost::json::object Describe() const;

  // Of tickets.
  absl::StatusOr<Turn> Look(uint64_t id);
  void WaitOn(uint64_t id);
  void Leave(uint64_t id);
  // Of those at workers.
  void Begin(const std::string& tenant, double weight);
  void End(const std::string& tenant);

 private:
  enum class State { kWaiting, kTurn, kRefused };
  struct Entry {
    QueuedAnswer answer;
    TenantMetrics metrics;
    std::function<void()> wake;
    double entered_s;
    State state = State::kWaiting;
    bool claims = false;  // Its turn: another's place.
    absl::Status refusal = absl::OkStatus();
  };
  using Wakes = std::vector<std::function<void()>>;
  using Rooms = std::map<std::string, LaneRoom>;  // By lane, less what has a turn already.

  void Decide();
  void Tick();
  void DecideLocked(double now_s, Wakes& wakes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Asks for it once in a decision.
  LaneRoom& RoomOf(const std::string& lane, Rooms& rooms) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RefuseLate(double now_s, Wakes& wakes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RefuseForlorn(double now_s, Rooms& rooms, Wakes& wakes)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void GiveTurns(Rooms& rooms, Wakes& wakes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void GiveClaims(Rooms& rooms, Wakes& wakes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void GiveTurn(const QueuedAnswer& answer, bool claims, Rooms& rooms, Wakes& wakes)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Refuse(uint64_t id, absl::Status refusal, Wakes& wakes)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // It waits no more.
  void CountEnd(const Entry& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void EndTurn(const Entry& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::optional<double> WaitOf(const QueuedAnswer& answer) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CountWaiting() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    waiting_.store(queue_.size(), std::memory_order_relaxed);
  }

  const WaitingLineOptions options_;
  asio::strand<asio::io_context::executor_type> strand_;
  asio::steady_timer timer_;  // The strand's.
  bool ticking_ = false;      // The strand's.
  std::atomic<size_t> waiting_ = 0;
  std::atomic<bool> posted_ = false;

  mutable absl::Mutex mutex_;
  AdmissionQueue queue_ ABSL_GUARDED_BY(mutex_);
  RowShares shares_ ABSL_GUARDED_BY(mutex_);
  DrainRate rate_ ABSL_GUARDED_BY(mutex_);
  RoomFunction room_ ABSL_GUARDED_BY(mutex_);  // Empty once it is stopped.
  absl::flat_hash_map<uint64_t, Entry> entries_ ABSL_GUARDED_BY(mutex_);
  uint64_t next_id_ ABSL_GUARDED_BY(mutex_) = 1;
  bool serving_ ABSL_GUARDED_BY(mutex_) = true;  // Some worker is there.
  // Lanes in which something waits and of which no worker is there.
  std::map<std::string, double> unserved_since_s_ ABSL_GUARDED_BY(mutex_);
  double forlorn_looked_s_ ABSL_GUARDED_BY(mutex_) = 0;
  // Those whose turn has come and that are at no worker yet.
  int64_t turns_ ABSL_GUARDED_BY(mutex_) = 0;
  double turn_tokens_ ABSL_GUARDED_BY(mutex_) = 0;
};

namespace {

template <typename Core>
class TicketOf final : public WaitingLine::Ticket {
 public:
  TicketOf(std::shared_ptr<Core> core, uint64_t id) : core_(std::move(core)), id_(id) {}
  ~TicketOf() override { core_->Leave(id_); }
  absl::StatusOr<WaitingLine::Turn> Look() override { return core_->Look(id_); }
  void WaitOn() override { core_->WaitOn(id_); }

 private:
  const std::shared_ptr<Core> core_;  // Shared with the line.
  const uint64_t id_;
};

template <typename Core>
class AtWorkerOf final : public WaitingLine::AtWorker {
 public:
  AtWorkerOf(std::shared_ptr<Core> core, std::string tenant)
      : core_(std::move(core)), tenant_(std::move(tenant)) {}
  ~AtWorkerOf() override { core_->End(tenant_); }

 private:
  const std::shared_ptr<Core> core_;  // Shared with the line.
  const std::string tenant_;
};

}  // namespace

// ------------------------------------------------------------------ who comes, who goes

absl::StatusOr<std::unique_ptr<WaitingLine::Ticket>> WaitingLine::Core::Enter(
    QueuedAnswer answer, const TenantMetrics& metrics, std::function<void()> wake) {
  Wakes wakes;
  absl::Status refusal;
  uint64_t id;
  {
    absl::MutexLock lock(&mutex_);
    const double now_s = SteadyNowS();
    rate_.Advance(now_s, queue_.size() > 0 && serving_);
    answer.deadline_s = std::min(answer.deadline_s, now_s + options_.wait_ms_max * 1e-3);
    // Others are there, but none has its adapter: that is for the client to know at once.
    if (!answer.lane.empty() && room_ != nullptr && !room_(answer.lane).serving &&
        room_("").serving) {
      return Refusal("no_worker", "No worker that could answer is ready; try again later.", 1);
    }
    const std::optional<double> wait_s = WaitOf(answer);
    if (wait_s.has_value() && serving_ && now_s + *wait_s > answer.deadline_s) {
      return Refusal("deadline",
                     absl::StrCat("The request would wait about ", static_cast<int>(*wait_s * 1000),
                                  " ms for a worker, longer than its deadline; try again later."),
                     *wait_s - std::max(0.0, answer.deadline_s - now_s));
    }
    id = answer.id = next_id_++;
    entries_.emplace(id, Entry{answer, metrics, std::move(wake), now_s});
    metrics.requests_waiting->Increment();
    for (const QueuedAnswer& refused : queue_.Push(std::move(answer))) {
      Refuse(refused.id,
             Refusal("queue_full", "Too many requests wait already; try again later.",
                     WaitOf(refused).value_or(1)),
             wakes);
    }
    CountWaiting();
    if (const auto own = entries_.find(id); own->second.state == State::kRefused) {
      refusal = own->second.refusal;
      entries_.erase(own);
    }
  }
  for (const std::function<void()>& wake_up : wakes) wake_up();
  RETURN_IF_ERROR(refusal);
  Notify();
  return std::make_unique<TicketOf<Core>>(shared_from_this(), id);
}

absl::StatusOr<WaitingLine::Turn> WaitingLine::Core::Look(uint64_t id) {
  absl::MutexLock lock(&mutex_);
  const Entry& entry = entries_.at(id);
  if (entry.state == State::kRefused) return entry.refusal;
  if (entry.state == State::kWaiting) return Turn::kNotYet;
  return entry.claims ? Turn::kClaim : Turn::kRoom;
}

void WaitingLine::Core::WaitOn(uint64_t id) {
  absl::MutexLock lock(&mutex_);
  Entry& entry = entries_.at(id);
  if (entry.state != State::kTurn) return;
  EndTurn(entry);
  entry.state = State::kWaiting;
  entry.metrics.requests_waiting->Increment();
  rate_.Add(-entry.answer.tokens);
  queue_.PushBack(entry.answer);
  // It is looked at with the next tick: what it was promised was wrong just now.
  CountWaiting();
}

void WaitingLine::Core::Leave(uint64_t id) {
  {
    absl::MutexLock lock(&mutex_);
    const auto found = entries_.find(id);
    if (found->second.state == State::kWaiting) {
      queue_.Remove(id);
      CountEnd(found->second);
    } else if (found->second.state == State::kTurn) {
      EndTurn(found->second);
    }
    entries_.erase(found);
    CountWaiting();
  }
  Notify();
}

void WaitingLine::Core::CountEnd(const Entry& entry) {
  entry.metrics.requests_waiting->Decrement();
  entry.metrics.admission_wait_seconds->Observe(SteadyNowS() - entry.entered_s);
}

void WaitingLine::Core::EndTurn(const Entry& entry) {
  shares_.End(entry.answer.tenant);
  --turns_;
  turn_tokens_ -= entry.answer.prompt_tokens;
  if (turns_ == 0) turn_tokens_ = 0;
}

void WaitingLine::Core::Refuse(uint64_t id, absl::Status refusal, Wakes& wakes) {
  Entry& entry = entries_.at(id);
  entry.state = State::kRefused;
  entry.refusal = std::move(refusal);
  CountEnd(entry);
  wakes.push_back(entry.wake);
}

std::optional<double> WaitingLine::Core::WaitOf(const QueuedAnswer& answer) const {
  const std::optional<double> rate = rate_.tokens_per_s();
  if (!rate.has_value()) return std::nullopt;
  const double tokens = queue_.TokensBefore(answer.tenant, answer.weight, answer.deadline_s);
  return tokens == 0 ? 0 : tokens / std::max(1e-3, *rate);
}

// ------------------------------------------------------------------ when something changes

void WaitingLine::Core::Notify() {
  if (empty() || posted_.exchange(true)) return;
  asio::post(strand_, [self = shared_from_this()] {
    self->posted_ = false;
    self->Decide();
  });
}

void WaitingLine::Core::Decide() {
  Wakes wakes;
  bool waiting;
  {
    absl::MutexLock lock(&mutex_);
    if (room_ == nullptr) return;
    DecideLocked(SteadyNowS(), wakes);
    CountWaiting();
    waiting = queue_.size() > 0;
  }
  for (const std::function<void()>& wake : wakes) wake();
  if (waiting && !ticking_) Tick();
}

void WaitingLine::Core::Tick() {
  ticking_ = true;
  timer_.expires_after(std::chrono::milliseconds(static_cast<int>(kTickS * 1000)));
  timer_.async_wait([self = shared_from_this()](boost::system::error_code) {
    self->ticking_ = false;
    self->Decide();
  });
}

void WaitingLine::Core::DecideLocked(double now_s, Wakes& wakes) {
  rate_.Advance(now_s, queue_.size() > 0 && serving_);
  Rooms rooms;
  serving_ = RoomOf("", rooms).serving;
  RefuseLate(now_s, wakes);
  if (now_s - forlorn_looked_s_ >= kTickS) {
    forlorn_looked_s_ = now_s;
    RefuseForlorn(now_s, rooms, wakes);
  }
  GiveTurns(rooms, wakes);
  GiveClaims(rooms, wakes);
}

WaitingLine::LaneRoom& WaitingLine::Core::RoomOf(const std::string& lane, Rooms& rooms) {
  const auto [found, added] = rooms.try_emplace(lane);
  if (added) {
    found->second = room_(lane);
    found->second.room.requests -= turns_;
    found->second.room.prompt_tokens -= static_cast<int64_t>(turn_tokens_);
  }
  return found->second;
}

void WaitingLine::Core::RefuseLate(double now_s, Wakes& wakes) {
  for (const QueuedAnswer& late : queue_.TakeExpired(now_s)) {
    const double waited_s = now_s - entries_.at(late.id).entered_s;
    Refuse(late.id,
           Refusal("deadline",
                   absl::StrCat("The request waited ", static_cast<int>(waited_s * 1000),
                                " ms for a worker, until its deadline; try again later."),
                   WaitOf(late).value_or(1)),
           wakes);
  }
}

// A lane's patience begins when its last worker goes, and an answer's when it comes.
void WaitingLine::Core::RefuseForlorn(double now_s, Rooms& rooms, Wakes& wakes) {
  const double patience_s = options_.no_worker_wait_ms * 1e-3;
  std::map<std::string, double> unserved_since_s;
  std::vector<uint64_t> forlorn;
  for (const auto& [id, entry] : entries_) {
    const std::string& lane = entry.answer.lane;
    if (entry.state != State::kWaiting || RoomOf(lane, rooms).serving) continue;
    const auto before = unserved_since_s_.find(lane);
    const double since_s = before == unserved_since_s_.end() ? now_s : before->second;
    unserved_since_s[lane] = since_s;
    if (now_s - std::max(since_s, entry.entered_s) >= patience_s) forlorn.push_back(id);
  }
  unserved_since_s_ = std::move(unserved_since_s);
  for (const uint64_t id : forlorn) {
    queue_.Remove(id);
    Refuse(id, Refusal("no_worker", "No worker is ready; try again later.", 1), wakes);
  }
}

void WaitingLine::Core::GiveTurns(Rooms& rooms, Wakes& wakes) {
  const auto open = [&](const std::string&, const std::string& lane) ABSL_EXCLUSIVE_LOCKS_REQUIRED(
                        mutex_) { return RoomOf(lane, rooms).room.any(); };
  while (const std::optional<QueuedAnswer> next = queue_.Pop(open)) {
    GiveTurn(*next, /*claims=*/false, rooms, wakes);
  }
}

void WaitingLine::Core::GiveClaims(Rooms& rooms, Wakes& wakes) {
  if (queue_.size() == 0) return;
  std::map<std::string, RowUse> uses = shares_.Uses();
  for (const AdmissionQueue::TenantView& view : queue_.Tenants()) {
    RowUse& use = uses[view.tenant];
    use.tenant = view.tenant;
    use.weight = view.weight;
    use.waits = true;
  }
  std::vector<RowUse> all;
  for (auto& [tenant, use] : uses) all.push_back(std::move(use));
  std::map<std::string, int64_t> claims = RowsToClaim(RoomOf("", rooms).rows, all);
  const auto open = [&](const std::string& tenant,
                        const std::string& lane) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const auto claim = claims.find(tenant);
    return claim != claims.end() && claim->second > 0 && RoomOf(lane, rooms).serving;
  };
  while (const std::optional<QueuedAnswer> next = queue_.Pop(open)) {
    --claims[next->tenant];
    GiveTurn(*next, /*claims=*/true, rooms, wakes);
  }
}

void WaitingLine::Core::GiveTurn(const QueuedAnswer& answer, bool claims, Rooms& rooms,
                                 Wakes& wakes) {
  // Workers may be of several lanes, so each lane may have less room now.
  for (auto& [lane, of_lane] : rooms) {
    --of_lane.room.requests;
    of_lane.room.prompt_tokens -= static_cast<int64_t>(answer.prompt_tokens);
  }
  ++turns_;
  turn_tokens_ += answer.prompt_tokens;
  shares_.Begin(answer.tenant, answer.weight);
  rate_.Add(answer.tokens);
  Entry& entry = entries_.at(answer.id);
  entry.state = State::kTurn;
  entry.claims = claims;
  CountEnd(entry);
  wakes.push_back(entry.wake);
}

void WaitingLine::Core::Begin(const std::string& tenant, double weight) {
  absl::MutexLock lock(&mutex_);
  shares_.Begin(tenant, weight);
}

void WaitingLine::Core::End(const std::string& tenant) {
  absl::MutexLock lock(&mutex_);
  shares_.End(tenant);
}

void WaitingLine::Core::Stop() {
  Wakes wakes;
  {
    absl::MutexLock lock(&mutex_);
    room_ = nullptr;
    for (auto& [id, entry] : entries_) {
      if (entry.state != State::kWaiting) continue;
      queue_.Remove(id);
      Refuse(id, Refusal("stopping", "The router is stopping; try again.", 1), wakes);
    }
    CountWaiting();
  }
  for (const std::function<void()>& wake : wakes) wake();
}

boost::json::object WaitingLine::Core::Describe() const {
  absl::MutexLock lock(&mutex_);
  boost::json::array tenants;
  for (const AdmissionQueue::TenantView& view : queue_.Tenants()) {
    tenants.push_back({{"tenant", JsonText(view.tenant)},
                       {"waiting_answers", view.answers},
                       {"waiting_tokens", view.tokens},
                       {"waiting_bytes", view.bytes}});
  }
  const std::optional<double> rate = rate_.tokens_per_s();
  return {{"waiting_answers", queue_.size()},
          {"waiting_bytes", queue_.bytes()},
          {"given_turns", turns_},
          {"worker_ready", serving_},
          {"tokens_per_s", rate.has_value() ? boost::json::value(*rate) : nullptr},
          {"tenants", std::move(tenants)}};
}

// -------------------------------------------------------------------- the line itself

WaitingLine::WaitingLine(asio::io_context& context, const WaitingLineOptions& options,
                         RoomFunction room)
    : core_(std::make_shared<Core>(context, options, std::move(room))) {}

void WaitingLine::Stop() { core_->Stop(); }

absl::StatusOr<std::unique_ptr<WaitingLine::Ticket>> WaitingLine::Enter(
    QueuedAnswer answer, const TenantMetrics& metrics, std::function<void()> wake) {
  return core_->Enter(std::move(answer), metrics, std::move(wake));
}

std::unique_ptr<WaitingLine::AtWorker> WaitingLine::CountAtWorker(const std::string& tenant,
                                                                  double weight) {
  core_->Begin(tenant, weight);
  return std::make_unique<AtWorkerOf<Core>>(core_, tenant);
}

bool WaitingLine::empty() const { return core_->empty(); }
void WaitingLine::Notify() { core_->Notify(); }
boost::json::object WaitingLine::Describe() const { return core_->Describe(); }

}  // namespace facet
