#ifndef FACET_ROUTER_PLACEMENT_H_
#define FACET_ROUTER_PLACEMENT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace facet {

// What the router knows of one worker at one moment.
struct WorkerSnapshot {
  std::string address;
  bool ready = false;     // Connected, described, and of the served model.
  bool draining = false;  // Takes no new requests.
  bool excluded = false;  // Already tried for this request.
  uint32_t running = 0;   // As the worker reported last, of all routers.
  uint32_t waiting = 0;
  uint32_t started_since_report = 0;  // By this router.
  uint32_t in_flight = 0;             // By this router.
  uint32_t capacity = 0;              // Running and waiting that it takes at most; 0: unknown.
};

struct Placement {
  int worker;       // Index into the snapshot.
  std::string why;  // For logs and headers.
};

// Which worker gets the next request: the least loaded, the first of equals. A pure function: no
// clock, no I/O. UNAVAILABLE if no worker can take requests, RESOURCE_EXHAUSTED if all are full.
absl::StatusOr<Placement> Place(absl::Span<const WorkerSnapshot> workers);

}  // namespace facet

#endif  // FACET_ROUTER_PLACEMENT_H_
