#ifndef FACET_ROUTER_CLUSTER_STUCK_WORKERS_H_
#define FACET_ROUTER_CLUSTER_STUCK_WORKERS_H_

#include <cstddef>
#include <vector>

#include "absl/types/span.h"

namespace facet {

// A worker as those see it who wait for it.
struct WorkerSilence {
  bool ready = false;
  double silent_s = 0;  // Since it told or answered anything while it has requests; 0: it has none.
  double longest_step_s = 0;  // That its steps may take by its own measure; 0: unknown.
};

// Which workers take requests and answer none: silent for longer than `limit_s` and than ten of
// their longest steps, while another is ready that is not. A pure function.
std::vector<size_t> StuckWorkers(absl::Span<const WorkerSilence> workers, double limit_s);

}  // namespace facet

#endif  // FACET_ROUTER_CLUSTER_STUCK_WORKERS_H_
