#ifndef FACET_ROUTER_CLUSTER_ADAPTER_KEEPER_H_
#define FACET_ROUTER_CLUSTER_ADAPTER_KEEPER_H_

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "router/cluster/worker_pool.h"

namespace facet {

struct AdapterKeeperOptions {
  // Of the adapters that all workers are to hold (model/adapter_folder.h), on storage that routers
  // and workers share under one path; empty: there is none.
  std::string folder;
  absl::Duration look_interval = absl::Seconds(1);
  absl::Duration retry_interval = absl::Seconds(30);  // After a worker could not load one.
};

// Sees to it that every worker holds the adapters of a folder: looks into it again and again, and
// asks workers for what they lack, those that joined just now too. What is loaded through the API
// is remembered in the folder, as links, so that this outlives routers and workers. A thread of its
// own reads the folder, which may be slow. All methods may be called from any thread.
class AdapterKeeper {
 public:
  // `pool` must outlive it.
  AdapterKeeper(WorkerPool* pool, AdapterKeeperOptions options);
  ~AdapterKeeper();
  AdapterKeeper(const AdapterKeeper&) = delete;
  AdapterKeeper& operator=(const AdapterKeeper&) = delete;

  // Without a folder these do nothing. INVALID_ARGUMENT, UNAVAILABLE: why it cannot be noted.
  absl::Status BlockingAdd(const std::string& name, const std::string& path);
  // INVALID_ARGUMENT: the folder has more than a link there, which is not ours to remove.
  absl::Status BlockingRemove(const std::string& name);

 private:
  using Clock = std::chrono::steady_clock;

  // Which questions are under way or have failed. Shared with the calls, which may end late.
  struct Asked {
    using Wish = std::pair<std::string, std::string>;  // A worker's address, an adapter's name.
    absl::Mutex mutex;
    // Not to be asked for again before this; the end of time while the worker reads.
    std::map<Wish, Clock::time_point> not_before ABSL_GUARDED_BY(mutex);
  };

  void Loop() ABSL_LOCKS_EXCLUDED(mutex_);
  void BlockingLook();
  void Ask(WorkerClient& worker, const std::string& name, const std::string& path);

  WorkerPool& pool_;
  const AdapterKeeperOptions options_;
  const std::shared_ptr<Asked> asked_;
  absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool logged_folder_ = false;  // The thread's.
  std::thread thread_;
};

}  // namespace facet

#endif  // FACET_ROUTER_CLUSTER_ADAPTER_KEEPER_H_
