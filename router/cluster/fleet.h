#ifndef FACET_ROUTER_CLUSTER_FLEET_H_
#define FACET_ROUTER_CLUSTER_FLEET_H_

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "router/cluster/worker_client.h"
#include "router/cluster/worker_sources.h"

namespace facet {

// The clients of the workers that there shall be, of which some join and others leave. A worker is
// known by its address. Any thread may call any method.
//
// A worker that leaves is in no later `members` and so gets no new request. Its client goes on for
// as long as somebody holds it, that is until its last answer has ended, and is then destroyed on a
// thread of the fleet's own, because that may wait for gRPC. One that comes back before has its
// client again.
//
// Invariants:
//  1. Of each address there is at most one client that anybody can reach.
//  2. Clients that exist have different ids; an id is given anew only after its client is gone and
//     on_gone was told. The least free one comes first, so ids are less than the most clients that
//     there ever were at once.
class Fleet {
 public:
  struct Member {
    std::shared_ptr<WorkerClient> client;  // Shared with those who use it just now.
    int id = 0;                            // Among holders of pages.
    WorkerOrigins origins;
  };
  using Members = std::vector<Member>;  // In the order of their addresses.

  // Makes the client of an address.
  using Connect = std::function<std::unique_ptr<WorkerClient>(const std::string& address, int id)>;
  // `on_gone` hears of each id whose client was destroyed.
  Fleet(Connect connect, std::function<void(int id)> on_gone);
  // Waits until all clients are gone. REQUIRES: as ~WorkerClient; whoever holds one lets go of it.
  ~Fleet();
  Fleet(const Fleet&) = delete;
  Fleet& operator=(const Fleet&) = delete;

  // Those that there are now; they stay as they are while this is held.
  std::shared_ptr<const Members> members() const ABSL_LOCKS_EXCLUDED(mutex_);
  // Makes those the members.
  void Set(const WantedWorkers& wanted) ABSL_LOCKS_EXCLUDED(setting_mutex_, mutex_);

 private:
  // A client whose last holder has let go of it.
  struct Gone {
    std::unique_ptr<WorkerClient> client;
    int id;
  };
  // That are no members any more, while somebody holds them.
  struct Leaving {
    std::weak_ptr<WorkerClient> client;
    int id;
  };

  Member Join(const std::string& address) ABSL_EXCLUSIVE_LOCKS_REQUIRED(setting_mutex_);
  int TakeId() ABSL_LOCKS_EXCLUDED(mutex_);
  void Bury(std::unique_ptr<WorkerClient> client, int id) ABSL_LOCKS_EXCLUDED(mutex_);
  void Reap() ABSL_LOCKS_EXCLUDED(mutex_);

  const Connect connect_;
  const std::function<void(int id)> on_gone_;
  absl::Mutex setting_mutex_;  // One Set at a time. Taken before mutex_.
  std::map<std::string, Leaving> leaving_ ABSL_GUARDED_BY(setting_mutex_);  // By address.
  mutable absl::Mutex mutex_;
  std::shared_ptr<const Members> members_ ABSL_GUARDED_BY(mutex_);
  std::set<int> used_ids_ ABSL_GUARDED_BY(mutex_);
  std::vector<Gone> gone_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread reaper_;
};

}  // namespace facet

#endif  // FACET_ROUTER_CLUSTER_FLEET_H_
