#ifndef FACET_ROUTER_CLUSTER_DISCOVERY_H_
#define FACET_ROUTER_CLUSTER_DISCOVERY_H_

#include <boost/asio/io_context.hpp>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "base/name_lookup.h"
#include "base/target.h"
#include "router/cluster/worker_pool.h"
#include "router/metrics.h"

namespace facet {

struct DiscoveryOptions {
  std::vector<Target> workers;
  int resolve_ms = 5'000;     // Between two looks at the addresses of names; sooner after a loss.
  size_t workers_max = 4096;  // Of all origins together.
  BlockingNameLookup lookup = BlockingSystemLookup;
};

// Sees to it that the pool's workers are those that are listed, those whose addresses names have
// now, and those that registered: WorkersOf decides, this asks and acts. A loop on a strand of its
// own resolves names; Join, Leave and OnLost may be called from any thread.
class Discovery {
 public:
  // `context` and `metrics` must outlive it.
  Discovery(boost::asio::io_context& context, DiscoveryOptions options, RouterMetrics& metrics);
  ~Discovery();
  Discovery(const Discovery&) = delete;
  Discovery& operator=(const Discovery&) = delete;

  // The listed workers are the pool's when this returns.
  void Start(WorkerPool* pool);
  // The pool is not touched any more when this returns. A name that is being looked up is left to
  // itself.
  void Stop();

  // A worker began or ended a Register call; `address` as ListenAddress writes it. Join has
  // RESOURCE_EXHAUSTED for one worker too many, and UNAVAILABLE while there is no pool. Each Join
  // that went well is followed by one Leave.
  absl::Status Join(const std::string& address);
  void Leave(const std::string& address);
  // A worker that was ready is not any more.
  void OnLost();

 private:
  class Core;
  const std::shared_ptr<Core> core_;  // Shared with the loop.
};

}  // namespace facet

#endif  // FACET_ROUTER_CLUSTER_DISCOVERY_H_
