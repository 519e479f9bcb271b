#ifndef FACET_WORKER_GROUP_FOLLOWER_H_
#define FACET_WORKER_GROUP_FOLLOWER_H_

#include "absl/status/status.h"
#include "worker/loaded_model.h"

namespace facet {

// Does what rank 0 says (group_leader.h) with this rank's part of the model, until it says stop:
// then OK. UNAVAILABLE: the group has failed; INVALID_ARGUMENT: the leader said what this rank does
// not understand; FAILED_PRECONDITION: an adapter is not here as it is there. With all but OK the
// group has ended. Uses `model` on the caller's thread alone.
absl::Status BlockingFollow(LoadedModel& model);

}  // namespace facet

#endif  // FACET_WORKER_GROUP_FOLLOWER_H_
