#ifndef FACET_OPS_SIMULATION_SIMULATED_WORKER_H_
#define FACET_OPS_SIMULATION_SIMULATED_WORKER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "ops/simulation/cost_table.h"
#include "ops/simulation/event_queue.h"
#include "ops/simulation/trace.h"
#include "proto/page_event.h"
#include "proto/page_key.h"
#include "proto/worker.pb.h"
#include "worker/prefix_cache.h"

namespace facet {

class Device;

// A worker under virtual time: the product's engine, which plans, caches, evicts and pulls, on a
// model that computes nothing and takes what the cost table says. One thread.
class SimulatedWorker {
 public:
  struct Output {
    uint64_t stream_id;
    v1::GenerateReply reply;
  };
  // Who hears, when it happens; messages take their time beyond that.
  class Listener {
   public:
    virtual ~Listener() = default;
    // What a step gave to the requests of one router.
    virtual void OnOutputs(int worker, int router, std::vector<Output> outputs) = 0;
    virtual void OnNews(int worker, const v1::Load& load, std::vector<PageEvent> pages) = 0;
    // Whether another worker has a page now, for one that wants to pull it.
    virtual bool HasPage(const std::string& address, const PoolKey& page) const = 0;
  };

  // All that is given must outlive it.
  SimulatedWorker(int index, int routers, const CostTable& costs, EventQueue& events,
                  Device& device, Listener& listener);
  ~SimulatedWorker();
  SimulatedWorker(const SimulatedWorker&) = delete;
  SimulatedWorker& operator=(const SimulatedWorker&) = delete;

  static std::string AddressOf(int index);

  // As Worker.Session has it. Errors are those of Engine::Submit; what has died takes all in
  // silence.
  absl::Status Start(int router, uint64_t stream_id, const v1::GenerateRequest& request);
  void Cancel(int router, uint64_t stream_id);

  // Gone with all that it has, or back with nothing.
  void Die();
  void Return();
  void SetSlow(double factor) { slow_ = factor; }
  bool alive() const { return engine_ != nullptr; }

  // Makes the pages of this prompt's beginning cached, as if they had been computed. REQUIRES: they
  // fit.
  void CachePrefix(absl::Span<const PageKey> keys);
  bool HasPage(const PoolKey& page) const;
  double busy_s() const { return busy_s_; }  // That it has computed.

 private:
  class Runner;
  class Sink;
  class Peers;
  class Model;

  void Wake();
  void Step();
  void EndStep(bool stalled);
  void TellNews();

  const int index_;
  const CostTable& costs_;
  EventQueue& events_;
  Device& device_;
  Listener& listener_;

  std::unique_ptr<Model> engine_;  // Null: it has died.
  // Of the engine: what was planned for an earlier one is let go.
  uint64_t life_ = 0;
  double slow_ = 1;
  double ahead_s_ = 0;  // Inside a step: how far it has come.
  bool stepping_ = false, wake_planned_ = false, news_pause_ = false;
  int unfinished_ = 0;
  std::vector<std::vector<Output>> outputs_;  // By router, of the step.
  double busy_s_ = 0;
};

}  // namespace facet

#endif  // FACET_OPS_SIMULATION_SIMULATED_WORKER_H_
