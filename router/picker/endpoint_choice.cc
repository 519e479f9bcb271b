#include "router/picker/endpoint_choice.h"

#include <algorithm>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace facet {

std::string EndpointOf(absl::string_view worker_address, int port) {
  return absl::StrCat(worker_address.substr(0, worker_address.rfind(':')), ":", port);
}

absl::StatusOr<EndpointChoice> ChooseEndpoints(const Situation& situation,
                                               const EndpointQuestion& question, int port) {
  std::vector<WorkerSnapshot> workers = situation.workers;
  for (WorkerSnapshot& worker : workers) {
    worker.excluded |= question.subset.has_value() &&
                       !absl::c_linear_search(*question.subset, EndpointOf(worker.address, port));
  }
  PlacementWish wish = situation.wish;
  wish.page_tokens = 0;  // No pulling: a gateway cannot say where from.
  EndpointChoice choice;
  while (choice.endpoints.size() < kEndpointsMax) {
    const absl::StatusOr<Placement> next = Place(workers, wish);
    if (!next.ok()) {
      if (choice.endpoints.empty()) return next.status();
      break;
    }
    if (choice.endpoints.empty()) {
      choice.worker = next->worker;
      choice.estimate = next->estimate;
    }
    choice.endpoints.push_back(EndpointOf(workers[next->worker].address, port));
    workers[next->worker].excluded = true;
  }
  return choice;
}

}  // namespace facet
