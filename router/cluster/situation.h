#ifndef FACET_ROUTER_CLUSTER_SITUATION_H_
#define FACET_ROUTER_CLUSTER_SITUATION_H_

#include <vector>

#include "proto/worker.pb.h"
#include "router/cluster/page_directory.h"
#include "router/cluster/placement.h"

namespace facet {

// What Place decides a request by.
struct Situation {
  PlacementWish wish;
  std::vector<WorkerSnapshot> workers;
};

// Of the model that is served, and of what was answered so far.
struct ServedShape {
  int page_tokens = 64;
  int window_pages = 16;
  double answer_tokens = 256;  // That answers have on average; begun with a guess.
  // How many times as long as workers' rates say an answer takes: prompts of others are computed
  // beside it.
  double service_factor = 1;
};

// What a request wishes, and into `workers`, whose ids are the directory's, what they have of its
// prompt. `keys`: its RequestPageKeys.
Situation SituationOf(const v1::GenerateRequest& request, const SharedPageKeys& keys,
                      const ServedShape& shape, const PageDirectory& directory,
                      std::vector<WorkerSnapshot> workers);

// Where more of the prompt's pages are than at the worker of this estimate; empty: nothing is
// pulled.
v1::KvSource SourceOf(const Situation& situation, const PlacementEstimate& estimate);

// What a request is thought to cost, in tokens that are computed: of its prompt those that no
// worker has cached, and of its answer as many as answers have on average.
struct RequestCost {
  double prompt_tokens = 0, answer_tokens = 0;
};
RequestCost CostOf(const Situation& situation);

// How long an answer takes from its start at a worker to its end, by that worker's rates. 0: not
// measured.
double ServiceSeconds(const Situation& situation, int worker, const PlacementEstimate& estimate);
// The least of all workers that serve.
double LeastServiceSeconds(const Situation& situation);

// Averages after one more answer, of so many tokens; that took `seconds`, though its
// ServiceSeconds said `expected_s`.
void CountAnswer(int tokens, double seconds, double expected_s, ServedShape& shape);
// One was cut by its deadline at a worker: how long it would have taken is not known, but it was
// begun too late.
void CountLate(ServedShape& shape);

}  // namespace facet

#endif  // FACET_ROUTER_CLUSTER_SITUATION_H_
