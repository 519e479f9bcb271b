#include "router/placement.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace facet {
namespace {

// Requests at the worker. A report is up to 20 ms old, so what we sent since is added; it may also
// have been written before it saw our last requests, so it is never less than those.
uint32_t LoadOf(const WorkerSnapshot& worker) {
  return std::max(worker.running + worker.waiting + worker.started_since_report, worker.in_flight);
}

bool HoldsWishedAdapter(const WorkerSnapshot& worker, const PlacementWish& wish) {
  if (wish.adapter.empty()) return true;
  const std::string* digest = FindAdapter(worker, wish.adapter);
  return digest != nullptr && (wish.adapter_digest.empty() || *digest == wish.adapter_digest);
}

// The best of one class; of all if it is empty.
absl::StatusOr<Placement> PlaceInClass(absl::Span<const WorkerSnapshot> workers,
                                       const PlacementWish& wish,
                                       const std::string& numerics_class) {
  int best = -1;
  bool any_usable = false;
  for (int i = 0; i < static_cast<int>(workers.size()); ++i) {
    const WorkerSnapshot& worker = workers[i];
    if (!worker.ready || worker.draining || worker.excluded) continue;
    if (!HoldsWishedAdapter(worker, wish)) continue;
    if (!numerics_class.empty() && worker.numerics_class != numerics_class) continue;
    any_usable = true;
    if (worker.capacity != 0 && LoadOf(worker) >= worker.capacity) continue;
    if (best < 0 || LoadOf(worker) < LoadOf(workers[best])) best = i;
  }
  if (best >= 0) {
    return Placement{best, absl::StrCat("least loaded: ", LoadOf(workers[best]), " requests")};
  }
  if (any_usable) return absl::ResourceExhaustedError("All workers are full; try again later.");
  return absl::UnavailableError("No worker is ready; try again later.");
}

}  // namespace

const std::string* FindAdapter(const WorkerSnapshot& worker, const std::string& name) {
  if (worker.adapters == nullptr) return nullptr;
  const auto found = worker.adapters->find(name);
  return found == worker.adapters->end() ? nullptr : &found->second;
}

absl::StatusOr<Placement> Place(absl::Span<const WorkerSnapshot> workers,
                                const PlacementWish& wish) {
  absl::StatusOr<Placement> placement = PlaceInClass(workers, wish, wish.numerics_class);
  if (wish.numerics_class.empty() || !wish.may_change_class ||
      !absl::IsUnavailable(placement.status())) {
    return placement;
  }
  placement = PlaceInClass(workers, wish, "");
  if (placement.ok()) placement->exact = false;
  return placement;
}

}  // namespace facet
