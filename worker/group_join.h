#ifndef FACET_WORKER_GROUP_JOIN_H_
#define FACET_WORKER_GROUP_JOIN_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "kernels/collective.h"
#include "proto/group.pb.h"
#include "worker/loaded_model.h"

namespace facet {

struct GroupOptions {
  int rank = 0;
  int size = 1;
  // Where rank 0 listens and the others look for it: HOST:PORT, or unix-abstract:NAME on one host.
  std::string leader;
  // How long to wait for the others: they may be loading, or starting again.
  absl::Duration timeout = absl::Minutes(2);
  // Looked at while rank 0 waits; true ends it with CANCELLED. May be empty.
  std::function<bool()> cancelled;
  // Ranks of equal ones share memory.
  std::string host = HostIdentity();

  // Of this process: the kernel's boot and the namespaces of processes and of the network.
  static std::string HostIdentity();
};

// INVALID_ARGUMENT names the flag that is wrong.
absl::Status ValidateGroup(const GroupOptions& options);

// What all ranks of a group must have in common to compute the model at `path` as `options` say.
// Reads samples of the weights. Errors as of LoadModel.
absl::StatusOr<std::vector<v1::GroupFact>> GroupFacts(const std::string& path,
                                                      const LoadOptions& options, int size);

// Waits until all ranks are there and connected: by shared memory if all are on one host, else by
// Gloo. DEADLINE_EXCEEDED names the ranks that have not come; FAILED_PRECONDITION, on a follower,
// the fact in which it differs from the leader; ALREADY_EXISTS: another has come as that rank;
// UNAVAILABLE: the leader's address cannot be listened on. REQUIRES: ValidateGroup; size > 1.
absl::StatusOr<std::shared_ptr<Collective>> BlockingJoinGroup(
    const GroupOptions& options, const std::vector<v1::GroupFact>& facts,
    const CollectiveOptions& collective);

}  // namespace facet

#endif  // FACET_WORKER_GROUP_JOIN_H_
