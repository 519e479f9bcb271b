#include "router/cluster/stuck_workers.h"

#include <algorithm>

namespace facet {
namespace {

// A silence of so many of a worker's longest steps is none of a slow one.
constexpr int kSteps = 10;

}  // namespace

std::vector<size_t> StuckWorkers(absl::Span<const WorkerSilence> workers, double limit_s) {
  std::vector<size_t> stuck;
  bool other = false;
  for (size_t i = 0; i < workers.size(); ++i) {
    const WorkerSilence& worker = workers[i];
    if (!worker.ready) continue;
    if (worker.silent_s > std::max(limit_s, kSteps * worker.longest_step_s)) {
      stuck.push_back(i);
    } else {
      other |= worker.silent_s <= limit_s;
    }
  }
  return other ? stuck : std::vector<size_t>();
}

}  // namespace facet
