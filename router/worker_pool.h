#ifndef FACET_ROUTER_WORKER_POOL_H_
#define FACET_ROUTER_WORKER_POOL_H_

#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "router/mailbox.h"
#include "router/metrics.h"
#include "router/placement.h"
#include "router/served_model.h"
#include "router/worker_client.h"

namespace facet {

// How answers survive their workers.
struct FailoverOptions {
  int worker_wait_ms = 15'000;  // That an answer waits for a worker that could go on.
  // Go on in another numerics class if no worker of the first is left; tokens may then differ from
  // those of an undisturbed answer.
  bool may_change_class = true;
};

// All workers of this router, and the one model that they serve: that of the first worker that
// was heard. A worker of another model is refused until it serves this one. Safe to use from any
// thread.
class WorkerPool {
 public:
  // `context` and `metrics` must outlive the pool.
  WorkerPool(boost::asio::io_context& context, const std::vector<std::string>& addresses,
             const WorkerClientOptions& options, const FailoverOptions& failover,
             RouterMetrics& metrics);
  // REQUIRES: as ~WorkerClient.
  ~WorkerPool() = default;

  // Null until the first worker was heard.
  std::shared_ptr<const ServedModel> model() const;
  // The same, if it is the one of this name (router/model_name.h) and its adapter is known.
  // UNAVAILABLE until the first worker was heard, NOT_FOUND in OpenAI's form.
  absl::StatusOr<std::shared_ptr<const ServedModel>> FindModel(const std::string& name) const;
  const FailoverOptions& failover() const { return failover_; }
  // Whether a request could be placed now.
  bool ready() const;
  std::vector<WorkerSnapshot> Snapshots() const;

  // The names of adapters that ready workers hold, ascending.
  std::vector<std::string> HeldAdapters() const;
  // Whether a ready worker holds the adapter, or is to load it.
  bool KnowsAdapter(const std::string& name) const;
  // Those that all workers are to hold.
  void SetWantedAdapters(std::set<std::string> names);
  // Of the worker with this index in Snapshots.
  WorkerClient& worker(int index) { return *workers_[index]; }

  // A request at a worker. The pool must outlive it.
  struct Stream {
    WorkerClient* worker;
    int worker_index;
    uint64_t id;
    std::string address;
    std::string numerics_class;  // Of the worker.
    bool exact;                  // As Placement.
  };
  // Places the request on a worker that is not in `tried` and hands it over, with the digest of
  // that worker's adapter if it has one.
  // UNAVAILABLE or RESOURCE_EXHAUSTED as Place.
  absl::StatusOr<Stream> Start(v1::GenerateRequest& request,
                               std::shared_ptr<const LoadedMedia> media, const PlacementWish& wish,
                               const absl::flat_hash_set<int>& tried,
                               std::shared_ptr<Mailbox> mailbox);

 private:
  absl::Status Accept(const v1::DescribeReply& description);

  const FailoverOptions failover_;
  mutable absl::Mutex mutex_;
  std::shared_ptr<const ServedModel> model_ ABSL_GUARDED_BY(mutex_);  // Shared with requests.
  std::set<std::string> wanted_adapters_ ABSL_GUARDED_BY(mutex_);
  // Last, so that it ends first: its members call Accept.
  std::vector<std::unique_ptr<WorkerClient>> workers_;
};

}  // namespace facet

#endif  // FACET_ROUTER_WORKER_POOL_H_
