#ifndef FACET_ROUTER_CLUSTER_PLACEMENT_H_
#define FACET_ROUTER_CLUSTER_PLACEMENT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace facet {

// What the router knows of one worker at one moment. Small, for a request copies one of each.
struct WorkerSnapshot {
  absl::string_view address;    // Lives as long as the worker's client.
  uint64_t address_digest = 0;  // Equal in all routers.
  int id = 0;                   // Of this router's directory of pages.
  bool ready = false;           // Connected, described, and of the served model.
  bool draining = false;        // Takes no new requests.
  bool excluded = false;        // Already tried for this request, or lacks its adapter.
  uint64_t numerics_class = 0;  // Workers of one class give equal results bit for bit; 0: none.
  uint32_t capacity = 0;        // Running and waiting that it takes at most; 0: unknown.
  uint32_t running_max = 0;     // Of these, those that run; 0: unknown.

  // Of all routers, as the worker reported last.
  uint32_t running = 0;
  uint32_t waiting = 0;
  uint64_t prefill_tokens_waiting = 0;
  // By this router: what it may have sent too late for that report, and what has not ended (of
  // tokens: those whose answer has not begun).
  uint32_t started_since_report = 0, in_flight = 0;
  uint64_t prefill_tokens_since_report = 0, prefill_tokens_in_flight = 0;
  // Of those since the report, what it surely lacks: sent after it came.
  uint32_t started_after_report = 0;
  uint64_t prefill_tokens_after_report = 0;

  // What the worker measured; 0: not yet.
  double prefill_tokens_per_s = 0;
  double decode_step_s = 0;  // A step of one decoding row.
  double decode_row_s = 0;   // What each further row adds.

  uint64_t full_page_bytes = 0, sliding_page_bytes = 0;  // Of pages pulled; 0: it pulls none.
  double peer_bytes_per_s = 0;  // How fast it pulled lately; 0: not measured.

  uint32_t cached_tokens = 0;  // Of this request's prompt: those that it need not compute.
  uint32_t held_tokens = 0;    // Of these: those that it told of, so that others may pull them.
};

// What a request asks of its worker.
struct PlacementWish {
  // Of the worker that gave the tokens which the client has already; 0: any will do.
  uint64_t numerics_class = 0;
  bool may_change_class = true;  // If no worker of the class is there.
  uint32_t prompt_tokens = 0;    // With those of the answer that it goes on from.
  double answer_tokens = 0;      // How many are expected.
  // Stands for the prompt's beginning. Among workers that are equal otherwise, all routers choose
  // the same one for it.
  uint64_t affinity = 0;
  // Of the model; 0: nothing is pulled.
  uint32_t page_tokens = 0, window_pages = 0;
};

// What a request would cost at one worker.
struct PlacementEstimate {
  uint32_t requests = 0;         // There already.
  uint64_t queued_tokens = 0;    // Of prompts that are computed before.
  uint32_t computed_tokens = 0;  // Of this prompt.
  // Of this prompt, pulled from another worker, whose index that is; -1: nothing is.
  uint32_t pulled_tokens = 0;
  int source = -1;
  absl::string_view source_address;  // As WorkerSnapshot's.
  double pull_s = 0;
  double first_token_s = 0;  // Until the answer begins.
  // That, and what it takes from others.
  double cost_s = 0;
};

struct Placement {
  int worker = 0;  // Index into the snapshot.
  PlacementEstimate estimate;
  bool exact = true;  // Of the wished class, or none was wished.
};

// What a worker can take on at most: as much as keeps it busy until it has said what became of it.
// All else waits at the router, where who goes next is still open.
struct Room {
  int64_t requests = 0;
  int64_t prompt_tokens = 0;
  bool any() const { return requests > 0 && prompt_tokens > 0; }
};
// Negative if it has more than that.
Room RoomAt(const WorkerSnapshot& worker);

// Whether it takes requests, full or not.
inline bool IsServing(const WorkerSnapshot& worker) {
  return worker.ready && !worker.draining && !worker.excluded;
}

// What all workers that serve have together; `serving`: there is one, full or not.
struct FleetRoom {
  bool serving = false;
  Room room;
  int64_t rows = 0;  // Answers that they can have at the same time.
};
FleetRoom RoomOfAll(absl::Span<const WorkerSnapshot> workers);

// Excludes those that have no room, so that Place gives a worker no more than one step's worth of
// requests. RESOURCE_EXHAUSTED if no worker has room. Where one has, a prompt may go to one that
// has room for requests but computes other prompts yet: if that is sooner, for the sake of what it
// has cached.
absl::Status HoldToRoom(absl::Span<WorkerSnapshot> workers);

// For headers, logs and the debug endpoint.
std::string Explain(const WorkerSnapshot& worker, const PlacementEstimate& estimate);

// What the request would cost at each worker, whether that takes requests or not. Rates that a
// worker has not measured are those of the others.
std::vector<PlacementEstimate> EstimateAll(absl::Span<const WorkerSnapshot> workers,
                                           const PlacementWish& wish);

// Which worker gets the next request: of the wished class, the one of least cost. Of those within a
// tenth and a millisecond of it, one that need pull nothing, so that pages are copied only where
// that is worth it; of these the one with the fewest requests, and then that of the highest score
// in a rendezvous hash (Thaler and Ravishankar 1998) of affinity and address.
//
// The cost of a request, in seconds, at a worker with r requests, q tokens of prompts to compute
// before, of whose prompt u tokens are not cached and whose answer will have n tokens:
//
//   (q + u) / prefill rate + pull + step + r * row   until the first token, plus
//   u / prefill rate         by which those that come later wait longer, plus
//   p / usual prefill rate   for p tokens pulled: as much leaves its memory for them, plus
//   n * row * (2 r + 1)      its own n rows among r others, and theirs beside it.
//
// A worker pulls what the one of its class that has most of the prompt has more than itself, if its
// bytes at the rate of its last pulls take less than computing; u is then less by as much.
//
// So a request goes where its prefix is, until that worker is busier than a copy of the prefix, or
// computing it anew, is worth.
// A pure function: no clock, no I/O. UNAVAILABLE if no worker can take requests, RESOURCE_EXHAUSTED
// if all are full. Another class is chosen only if the wished one has no worker at all: a full one
// will have room.
absl::StatusOr<Placement> Place(absl::Span<const WorkerSnapshot> workers,
                                const PlacementWish& wish = {});

}  // namespace facet

#endif  // FACET_ROUTER_CLUSTER_PLACEMENT_H_
