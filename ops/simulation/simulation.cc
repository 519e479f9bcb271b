#include "ops/simulation/simulation.h"

#include <algorithm>
#include <memory>
#include <random>
#include <set>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "kernels/cpu/cpu_device.h"
#include "ops/simulation/event_queue.h"
#include "ops/simulation/simulated_worker.h"

namespace facet {
namespace {

constexpr int kPageTokens = 64;
// Until a router has found a worker that is back: its tries are a second apart at most.
constexpr double kReconnectS = 0.5;

// The keys of what several requests share, of each beginning once.
std::vector<std::vector<PageKey>> SharedPrefixes(const Trace& trace) {
  absl::flat_hash_map<uint64_t, int> uses;
  for (const TraceRequest& request : trace) {
    for (const PromptSegment& segment : request.prompt) ++uses[segment.content];
  }
  std::vector<std::vector<PageKey>> prefixes;
  std::set<PageKey> seen;
  std::set<std::vector<uint64_t>> seen_contents;
  for (const TraceRequest& request : trace) {
    TraceRequest shared;
    std::vector<uint64_t> contents;
    for (const PromptSegment& segment : request.prompt) {
      if (uses[segment.content] < 2) break;
      shared.prompt.push_back(segment);
      contents.push_back(segment.content);
    }
    if (!seen_contents.insert(contents).second) continue;
    std::vector<uint32_t> ids;
    AppendTokens(shared, ids);
    const std::vector<int32_t> tokens(ids.begin(), ids.end());
    std::vector<PageKey> keys = PageKeysOf(RootPageKey(""), tokens, kPageTokens);
    if (!keys.empty() && seen.insert(keys.back()).second) prefixes.push_back(std::move(keys));
  }
  return prefixes;
}

class Cluster final : public SimulatedWorker::Listener {
 public:
  Cluster(const Trace& trace, const SimulationOptions& options, CostTable costs, Device& device)
      : trace_(trace), options_(options), costs_(costs), device_(device), random_(options.seed) {}

  void Build(const std::vector<std::vector<PageKey>>& warm) {
    for (int i = 0; i < options_.workers; ++i) {
      workers_.push_back(
          std::make_unique<SimulatedWorker>(i, options_.routers, costs_, events_, device_, *this));
      for (const std::vector<PageKey>& keys : warm) workers_.back()->CachePrefix(keys);
    }
    SimulatedRouter::Options router;
    router.policy = options_.policy;
    router.line = options_.line;
    // All pages that there may be, twice over.
    router.index_pages_max = std::max<int64_t>(
        1 << 16, int64_t{2} * options_.workers * (costs_.full_pages + costs_.sliding_pages));
    for (int i = 0; i < options_.routers; ++i) {
      router.news_delay_s =
          options_.routers == 1 ? 0 : options_.news_delay_s * i / (options_.routers - 1);
      routers_.push_back(std::make_unique<SimulatedRouter>(i, router, costs_, events_, workers_));
    }
  }

  absl::StatusOr<SimulationResult> Run(const std::function<void(size_t ended)>& progress) {
    result_.records.resize(trace_.size());
    for (const Fault& fault : options_.faults) {
      events_.At(fault.at_s, [this, fault] { Happen(fault); });
    }
    PlanArrival(0);
    while (arrived_ < trace_.size() || Running() > 0) {
      if (!events_.RunNext()) {
        return absl::InternalError(
            absl::StrCat(Running(), " requests never end, at ", events_.now_s(), " s"));
      }
      if (progress && events_.count() % 4096 == 0) progress(arrived_ - Running());
    }
    result_.end_s = events_.now_s();
    result_.events = events_.count();
    for (const auto& worker : workers_) result_.worker_busy_s.push_back(worker->busy_s());
    return std::move(result_);
  }

  void OnOutputs(int worker, int router, std::vector<SimulatedWorker::Output> outputs) override {
    events_.At(events_.now_s() + costs_.message_s,
               [this, worker, router, outputs = std::move(outputs)] {
                 routers_[router]->OnOutputs(worker, outputs);
               });
  }
  void OnNews(int worker, const v1::Load& load, std::vector<PageEvent> pages) override {
    events_.At(events_.now_s() + costs_.message_s, [this, worker, load, pages = std::move(pages)] {
      for (const auto& router : routers_) router->OnNews(worker, load, pages);
    });
  }
  bool HasPage(const std::string& address, const PoolKey& page) const override {
    for (size_t i = 0; i < workers_.size(); ++i) {
      if (SimulatedWorker::AddressOf(static_cast<int>(i)) != address) continue;
      return workers_[i]->HasPage(page);
    }
    return false;
  }

 private:
  // Each plans the next, so that few wait.
  void PlanArrival(size_t index) {
    if (index == trace_.size()) return;
    events_.At(std::max(events_.now_s(), trace_[index].arrival_s), [this, index] {
      ++arrived_;
      const uint64_t draw = random_();
      routers_[draw % routers_.size()]->Arrive(trace_[index], draw, result_.records[index],
                                               result_.pauses_s);
      PlanArrival(index + 1);
    });
  }

  void Happen(const Fault& fault) {
    SimulatedWorker& worker = *workers_[fault.worker];
    const double now_s = events_.now_s();
    const auto tell = [&](double after_s, bool lost) {
      events_.At(now_s + after_s, [this, index = fault.worker, lost] {
        for (const auto& router : routers_) {
          lost ? router->OnLost(index) : router->OnReturned(index);
        }
      });
    };
    switch (fault.kind) {
      case Fault::Kind::kDie:
        worker.Die();
        return tell(costs_.message_s, /*lost=*/true);
      case Fault::Kind::kVanish:
        worker.Die();
        return tell(fault.noticed_after_s, /*lost=*/true);
      case Fault::Kind::kReturn:
        if (worker.alive()) return;
        worker.Return();
        // Whoever has not noticed that it was gone does now.
        tell(costs_.message_s, /*lost=*/true);
        return tell(kReconnectS, /*lost=*/false);
      case Fault::Kind::kSlow:
        return worker.SetSlow(fault.factor);
    }
  }

  size_t Running() const {
    size_t running = 0;
    for (const auto& router : routers_) running += router->running();
    return running;
  }

  const Trace& trace_;
  const SimulationOptions& options_;
  const CostTable costs_;
  Device& device_;
  EventQueue events_;
  std::mt19937_64 random_;
  std::vector<std::unique_ptr<SimulatedWorker>> workers_;
  std::vector<std::unique_ptr<SimulatedRouter>> routers_;
  SimulationResult result_;
  size_t arrived_ = 0;
};

}  // namespace

absl::StatusOr<SimulationResult> Simulate(const Trace& trace, const SimulationOptions& options,
                                          const std::function<void(size_t ended)>& progress) {
  CostTable costs = options.costs;
  for (size_t i = 0; i < trace.size(); ++i) {
    if (trace[i].prompt_tokens() + trace[i].answer_tokens <= costs.context_tokens_max) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "request ", i + 1, " has ", trace[i].prompt_tokens(), " and ", trace[i].answer_tokens,
        " tokens; context_tokens_max of the costs is ", costs.context_tokens_max));
  }
  std::vector<std::vector<PageKey>> warm;
  if (options.warm) {
    warm = SharedPrefixes(trace);
    for (const std::vector<PageKey>& keys : warm) {
      costs.full_pages += static_cast<int>(keys.size());
      costs.sliding_pages += static_cast<int>(keys.size());
    }
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<Device> device, MakeCpuDevice({.threads = 1}));
  Cluster cluster(trace, options, costs, *device);
  cluster.Build(warm);
  return cluster.Run(progress);
}

}  // namespace facet
