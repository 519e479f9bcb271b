#ifndef FACET_ROUTER_PLACEMENT_H_
#define FACET_ROUTER_PLACEMENT_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace facet {

// The LoRA adapters of a worker: name to digest.
using AdapterDigests = absl::flat_hash_map<std::string, std::string>;

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
  std::string numerics_class;         // Workers of one class give equal results bit for bit.
  // Shared with the worker's client, which replaces it at each change; null: none.
  std::shared_ptr<const AdapterDigests> adapters;
};

// What a request asks of its worker.
struct PlacementWish {
  // Of the worker that gave the tokens which the client has already; empty: any will do.
  std::string numerics_class;
  bool may_change_class = true;     // If no worker of the class is there.
  std::string adapter = {};         // That the worker must hold; empty: none.
  std::string adapter_digest = {};  // Of the one that the tokens came from; empty: any will do.
};

struct Placement {
  int worker;         // Index into the snapshot.
  std::string why;    // For logs and headers.
  bool exact = true;  // Of the wished class, or none was wished.
};

// Null if the worker holds none of that name.
const std::string* FindAdapter(const WorkerSnapshot& worker, const std::string& name);

// Which worker gets the next request: the least loaded of those of the wished class that hold the
// wished adapter, the first of equals. A
// pure function: no clock, no I/O. UNAVAILABLE if no worker can take requests, RESOURCE_EXHAUSTED
// if all are full. Another class is chosen only if the wished one has no worker at all: a full one
// will have room.
absl::StatusOr<Placement> Place(absl::Span<const WorkerSnapshot> workers,
                                const PlacementWish& wish = {});

}  // namespace facet

#endif  // FACET_ROUTER_PLACEMENT_H_
