#ifndef FACET_ROUTER_PICKER_ENDPOINT_CHOICE_H_
#define FACET_ROUTER_PICKER_ENDPOINT_CHOICE_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "router/cluster/worker_pool.h"
#include "router/picker/ext_proc_exchange.h"

namespace facet {

// Beyond the first, a gateway tries these in turn if it cannot reach one.
inline constexpr int kEndpointsMax = 3;

// Where a gateway finds the HTTP server beside a worker: at the same host, on `port`.
std::string EndpointOf(absl::string_view worker_address, int port);

struct EndpointChoice {
  std::vector<std::string> endpoints;  // The best first; at least one.
  int worker = 0;                      // Of the first: index into the situation's workers.
  PlacementEstimate estimate;          // Of the first.
};

// Of the workers that a question allows: the one where Place puts it, then those of least cost
// among the others that take requests. Errors as those of Place; also UNAVAILABLE if the question's
// subset holds none of the workers. A pure function.
absl::StatusOr<EndpointChoice> ChooseEndpoints(const Situation& situation,
                                               const EndpointQuestion& question, int port);

}  // namespace facet

#endif  // FACET_ROUTER_PICKER_ENDPOINT_CHOICE_H_
