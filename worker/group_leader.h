#ifndef FACET_WORKER_GROUP_LEADER_H_
#define FACET_WORKER_GROUP_LEADER_H_

#include "worker/loaded_model.h"

namespace facet {

// Makes `model`, rank 0's, lead its group: from now on its runner, its drafter and its cache have
// the followers (group_follower.h) take part in all they do, and `model`'s end stops them. Nothing
// to do for a model that is whole. Everything is used by one thread at a time, the engine's.
// REQUIRES: called once, before anything else uses `model`.
void LeadGroup(LoadedModel& model);

}  // namespace facet

#endif  // FACET_WORKER_GROUP_LEADER_H_
