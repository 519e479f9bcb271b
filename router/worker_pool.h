#ifndef FACET_ROUTER_WORKER_POOL_H_
#define FACET_ROUTER_WORKER_POOL_H_

#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "router/mailbox.h"
#include "router/metrics.h"
#include "router/served_model.h"
#include "router/worker_client.h"

namespace facet {

// All workers of this router, and the one model that they serve: that of the first worker that
// was heard. A worker of another model is refused until it serves this one. Safe to use from any
// thread.
class WorkerPool {
 public:
  // `context` and `metrics` must outlive the pool.
  WorkerPool(boost::asio::io_context& context, const std::vector<std::string>& addresses,
             const WorkerClientOptions& options, RouterMetrics& metrics);
  // REQUIRES: as ~WorkerClient.
  ~WorkerPool() = default;

  // Null until the first worker was heard.
  std::shared_ptr<const ServedModel> model() const;
  // Whether a request could be placed now.
  bool ready() const;
  std::vector<WorkerSnapshot> Snapshots() const;

  // A request at a worker. The pool must outlive it.
  struct Stream {
    WorkerClient* worker;
    int worker_index;
    uint64_t id;
  };
  // Places the request on a worker that is not in `tried` and hands it over.
  // UNAVAILABLE or RESOURCE_EXHAUSTED as Place.
  absl::StatusOr<Stream> Start(const v1::GenerateRequest& request,
                               std::shared_ptr<const LoadedMedia> media,
                               const absl::flat_hash_set<int>& tried,
                               std::shared_ptr<Mailbox> mailbox);

 private:
  absl::Status Accept(const v1::DescribeReply& description);

  mutable absl::Mutex mutex_;
  std::shared_ptr<const ServedModel> model_ ABSL_GUARDED_BY(mutex_);  // Shared with requests.
  // Last, so that it ends first: its members call Accept.
  std::vector<std::unique_ptr<WorkerClient>> workers_;
};

}  // namespace facet

#endif  // FACET_ROUTER_WORKER_POOL_H_
