#include "router/cluster/discovery.h"

#include <algorithm>
#include <atomic>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/this_coro.hpp>
#include <chrono>
#include <set>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "base/log.h"
#include "base/target_addresses.h"
#include "router/cluster/wake.h"
#include "router/cluster/worker_sources.h"

namespace facet {
namespace {

namespace asio = boost::asio;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr auto kLookupLimit = std::chrono::seconds(5);
// After a worker was lost, names are asked for again, but not more often than this.
constexpr auto kResolveAgain = milliseconds(500);
// Without names the loop has nothing to do until a worker is lost.
constexpr int kIdleMs = 3'600'000;

std::set<std::string> ReadyAddresses(const WorkerPool& pool) {
  std::set<std::string> ready;
  const std::shared_ptr<const Fleet::Members> members = pool.members();
  for (const Fleet::Member& member : *members) {
    if (member.client->Snapshot().ready) ready.insert(member.client->address());
  }
  return ready;
}

}  // namespace

class Discovery::Core : public std::enable_shared_from_this<Core> {
 public:
  Core(asio::io_context& context, const DiscoveryOptions& options, RouterMetrics& metrics)
      : options_(options),
        metrics_(metrics),
        strand_(asio::make_strand(context)),
        wake_(std::make_shared<Wake>(strand_)),
        addresses_(options.workers, options.lookup) {
    sources_.listed = addresses_.listed();
  }

  void Start(WorkerPool* pool);
  void Stop();
  absl::Status Join(const std::string& address);
  void Leave(const std::string& address);
  void OnLost() {
    lost_ = true;
    wake_->Set();
  }

 private:
  asio::awaitable<void> Run();
  // Makes the pool's workers those that there shall be.
  void Apply() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CountWorkers(const WantedWorkers& wanted);

  const DiscoveryOptions options_;
  RouterMetrics& metrics_;
  asio::strand<asio::io_context::executor_type> strand_;
  asio::cancellation_signal cancel_;  // The strand's.
  const std::shared_ptr<Wake> wake_;  // Shared with its own posted work.
  TargetAddresses addresses_;         // The loop's.
  std::atomic<bool> lost_ = false;
  std::atomic<bool> stopping_ = false;

  absl::Mutex mutex_;                                   // Taken before the pool's.
  WorkerPool* pool_ ABSL_GUARDED_BY(mutex_) = nullptr;  // Null before Start and after Stop.
  WorkerSources sources_ ABSL_GUARDED_BY(mutex_);
  WantedWorkers wanted_ ABSL_GUARDED_BY(mutex_);  // Those of the pool.
  bool left_out_ ABSL_GUARDED_BY(mutex_) = false;
};

void Discovery::Core::Start(WorkerPool* pool) {
  {
    absl::MutexLock lock(&mutex_);
    pool_ = pool;
    Apply();
  }
  asio::co_spawn(
      strand_, [self = shared_from_this()]() -> asio::awaitable<void> { co_await self->Run(); },
      asio::bind_cancellation_slot(cancel_.slot(), asio::detached));
}

void Discovery::Core::Stop() {
  {
    absl::MutexLock lock(&mutex_);
    pool_ = nullptr;
  }
  if (stopping_.exchange(true)) return;
  asio::post(strand_, [self = shared_from_this()] {
    self->cancel_.emit(asio::cancellation_type::terminal);
  });
}

asio::awaitable<void> Discovery::Core::Run() {
  co_await asio::this_coro::throw_if_cancelled(false);
  const auto interval = milliseconds(addresses_.has_names() ? options_.resolve_ms : kIdleMs);
  Clock::time_point resolved, next = Clock::now();
  while (!stopping_) {
    if (lost_.exchange(false)) next = std::min(next, resolved + kResolveAgain);
    if (Clock::now() >= next) {
      co_await addresses_.Resolve(kLookupLimit);
      resolved = Clock::now();
      next = resolved + interval;
    }
    {
      absl::MutexLock lock(&mutex_);
      sources_.resolved = addresses_.resolved();
      Apply();
    }
    const auto left = std::chrono::ceil<milliseconds>(next - Clock::now());
    if (!stopping_) co_await wake_->Wait(std::max(0, static_cast<int>(left.count())));
  }
}

absl::Status Discovery::Core::Join(const std::string& address) {
  absl::MutexLock lock(&mutex_);
  if (pool_ == nullptr) return absl::UnavailableError("this router is stopping");
  if (wanted_.count(address) == 0 && wanted_.size() >= options_.workers_max) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "this router has ", wanted_.size(), " workers already, as many as --workers_max allows"));
  }
  ++sources_.registered[address].calls;
  Apply();
  return absl::OkStatus();
}

void Discovery::Core::Leave(const std::string& address) {
  absl::MutexLock lock(&mutex_);
  --sources_.registered.at(address).calls;
  Apply();
}

void Discovery::Core::Apply() {
  if (pool_ == nullptr) return;
  if (!sources_.registered.empty()) {
    const std::set<std::string> ready = ReadyAddresses(*pool_);
    for (auto it = sources_.registered.begin(); it != sources_.registered.end();) {
      it->second.connected = ready.count(it->first) > 0;
      const bool is_gone = it->second.calls == 0 && !it->second.connected;
      it = is_gone ? sources_.registered.erase(it) : std::next(it);
    }
  }
  size_t left_out = 0;
  WantedWorkers wanted = WorkersOf(sources_, options_.workers_max, &left_out);
  if (left_out > 0 && !left_out_) {
    LogWarning("more workers than --workers_max are known; some are not used",
               {{"left_out", left_out}});
  }
  left_out_ = left_out > 0;
  if (wanted == wanted_) return;
  wanted_ = std::move(wanted);
  pool_->SetWorkers(wanted_);
  CountWorkers(wanted_);
}

void Discovery::Core::CountWorkers(const WantedWorkers& wanted) {
  int listed = 0, resolved = 0, registered = 0;
  for (const auto& [address, origins] : wanted) {
    ++(origins.listed ? listed : origins.resolved ? resolved : registered);
  }
  metrics_.workers.Add({{"origin", "list"}}).Set(listed);
  metrics_.workers.Add({{"origin", "dns"}}).Set(resolved);
  metrics_.workers.Add({{"origin", "registered"}}).Set(registered);
}

Discovery::Discovery(asio::io_context& context, DiscoveryOptions options, RouterMetrics& metrics)
    : core_(std::make_shared<Core>(context, options, metrics)) {}
Discovery::~Discovery() { Stop(); }
void Discovery::Start(WorkerPool* pool) { core_->Start(pool); }
void Discovery::Stop() { core_->Stop(); }
absl::Status Discovery::Join(const std::string& address) { return core_->Join(address); }
void Discovery::Leave(const std::string& address) { core_->Leave(address); }
void Discovery::OnLost() { core_->OnLost(); }

}  // namespace facet
