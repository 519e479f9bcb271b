#include "router/admission/waiting_line.h"

#include <atomic>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/json.hpp>
#include <chrono>
#include <optional>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "base/status_macros.h"
#include "router/admission/tenant.h"
#include "router/api/json_fields.h"

namespace facet {
namespace {

namespace asio = boost::asio;

constexpr double kTickS = 0.05;

}  // namespace

class WaitingLine::Core : public std::enable_shared_from_this<Core> {
 public:
  Core(asio::io_context& context, const LineOptions& options, RoomFunction room)
      : strand_(asio::make_strand(context)),
        timer_(strand_),
        state_(options),
        room_(std::move(room)) {}

  void Stop();
  absl::StatusOr<std::unique_ptr<Ticket>> Enter(QueuedAnswer answer, const TenantMetrics& metrics,
                                                std::function<void()> wake);
  size_t waiting() const { return waiting_.load(std::memory_order_relaxed); }
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
    TenantMetrics metrics;
    std::function<void()> wake;
    double entered_s;
    State state = State::kWaiting;
    bool claims = false;  // Its turn: another's place.
    absl::Status refusal = absl::OkStatus();
  };
  using Wakes = std::vector<std::function<void()>>;

  void Decide();
  void Tick();
  void Refuse(std::vector<LineState::Refused> refused, Wakes& wakes)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void GiveTurn(uint64_t id, bool claims, Wakes& wakes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // It waits no more.
  void CountEnd(const Entry& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CountWaiting() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    waiting_.store(state_.waiting(), std::memory_order_relaxed);
  }

  asio::strand<asio::io_context::executor_type> strand_;
  asio::steady_timer timer_;  // The strand's.
  bool ticking_ = false;      // The strand's.
  std::atomic<size_t> waiting_ = 0;
  std::atomic<bool> posted_ = false;

  mutable absl::Mutex mutex_;
  LineState state_ ABSL_GUARDED_BY(mutex_);
  RoomFunction room_ ABSL_GUARDED_BY(mutex_);  // Empty once it is stopped.
  absl::flat_hash_map<uint64_t, Entry> entries_ ABSL_GUARDED_BY(mutex_);
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
  absl::StatusOr<uint64_t> id;
  {
    absl::MutexLock lock(&mutex_);
    const auto room = [this](const std::string& lane) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return room_ == nullptr ? FleetRoom() : room_(lane);
    };
    const double now_s = SteadyNowS();
    std::vector<LineState::Refused> refused;
    id = state_.Enter(std::move(answer), now_s, room, refused);
    Refuse(std::move(refused), wakes);
    if (id.ok()) {
      entries_.emplace(*id, Entry{.metrics = metrics, .wake = std::move(wake), .entered_s = now_s});
      metrics.requests_waiting->Increment();
    }
    CountWaiting();
  }
  for (const std::function<void()>& wake_up : wakes) wake_up();
  RETURN_IF_ERROR(id.status());
  Notify();
  return std::make_unique<TicketOf<Core>>(shared_from_this(), *id);
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
  entry.state = State::kWaiting;
  entry.metrics.requests_waiting->Increment();
  state_.WaitOn(id);
  // It is looked at with the next tick: what it was promised was wrong just now.
  CountWaiting();
}

void WaitingLine::Core::Leave(uint64_t id) {
  {
    absl::MutexLock lock(&mutex_);
    const auto found = entries_.find(id);
    if (found->second.state == State::kWaiting) CountEnd(found->second);
    state_.Leave(id);
    entries_.erase(found);
    CountWaiting();
  }
  Notify();
}

void WaitingLine::Core::CountEnd(const Entry& entry) {
  entry.metrics.requests_waiting->Decrement();
  entry.metrics.admission_wait_seconds->Observe(SteadyNowS() - entry.entered_s);
}

void WaitingLine::Core::Refuse(std::vector<LineState::Refused> refused, Wakes& wakes) {
  for (LineState::Refused& each : refused) {
    Entry& entry = entries_.at(each.id);
    entry.state = State::kRefused;
    entry.refusal = std::move(each.reason);
    CountEnd(entry);
    wakes.push_back(entry.wake);
  }
}

// ------------------------------------------------------------------ when something changes

void WaitingLine::Core::Notify() {
  if (waiting() == 0 || posted_.exchange(true)) return;
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
    LineState::Decision decision = state_.Decide(SteadyNowS(), room_);
    Refuse(std::move(decision.refused), wakes);
    for (const uint64_t id : decision.turns) GiveTurn(id, /*claims=*/false, wakes);
    for (const uint64_t id : decision.claims) GiveTurn(id, /*claims=*/true, wakes);
    CountWaiting();
    waiting = state_.waiting() > 0;
  }
  for (const std::function<void()>& wake : wakes) wake();
  if (waiting && !ticking_) Tick();
}

void WaitingLine::Core::GiveTurn(uint64_t id, bool claims, Wakes& wakes) {
  Entry& entry = entries_.at(id);
  entry.state = State::kTurn;
  entry.claims = claims;
  CountEnd(entry);
  wakes.push_back(entry.wake);
}

void WaitingLine::Core::Tick() {
  ticking_ = true;
  timer_.expires_after(std::chrono::milliseconds(static_cast<int>(kTickS * 1000)));
  timer_.async_wait([self = shared_from_this()](boost::system::error_code) {
    self->ticking_ = false;
    self->Decide();
  });
}

void WaitingLine::Core::Begin(const std::string& tenant, double weight) {
  absl::MutexLock lock(&mutex_);
  state_.Begin(tenant, weight);
}

void WaitingLine::Core::End(const std::string& tenant) {
  absl::MutexLock lock(&mutex_);
  state_.End(tenant);
}

void WaitingLine::Core::Stop() {
  Wakes wakes;
  {
    absl::MutexLock lock(&mutex_);
    room_ = nullptr;
    Refuse(state_.RefuseAll(), wakes);
    CountWaiting();
  }
  for (const std::function<void()>& wake : wakes) wake();
}

boost::json::object WaitingLine::Core::Describe() const {
  absl::MutexLock lock(&mutex_);
  boost::json::array tenants;
  for (const AdmissionQueue::TenantView& view : state_.Tenants()) {
    tenants.push_back({{"tenant", JsonText(view.tenant)},
                       {"waiting_answers", view.answers},
                       {"waiting_tokens", view.tokens},
                       {"waiting_bytes", view.bytes}});
  }
  const std::optional<double> rate = state_.tokens_per_s();
  return {{"waiting_answers", state_.waiting()},
          {"waiting_bytes", state_.bytes()},
          {"given_turns", state_.turns()},
          {"worker_ready", state_.serving()},
          {"tokens_per_s", rate.has_value() ? boost::json::value(*rate) : nullptr},
          {"tenants", std::move(tenants)}};
}

// -------------------------------------------------------------------- the line itself

WaitingLine::WaitingLine(asio::io_context& context, const LineOptions& options, RoomFunction room)
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

size_t WaitingLine::waiting() const { return core_->waiting(); }
void WaitingLine::Notify() { core_->Notify(); }
boost::json::object WaitingLine::Describe() const { return core_->Describe(); }

}  // namespace facet
