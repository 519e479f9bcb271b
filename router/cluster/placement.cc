#include "router/cluster/placement.h"

#include <algorithm>
#include <limits>
#include <tuple>

#include "absl/strings/str_format.h"

namespace facet {
namespace {

// One step's worth of what waits at a worker: a share of the rows that run, so that one is there
// when another ends, and so many tokens of prompts as a slow worker computes in a step, or a fast
// one until its next report (each 20 ms at most) has come twice over.
constexpr uint32_t kRunningShareThatWaits = 4;
constexpr double kStepTokens = 512;
constexpr double kStepS = 0.1;
// Before it is known how fast it is.
constexpr double kUnknownStepTokens = 2048;

// Where no worker has measured anything yet.
constexpr double kUsualPrefillTokensPerS = 1000;
// The same of pulling: a network of 10 Gbit/s.
constexpr double kUsualPeerBytesPerS = 1e9;
// Costs that differ by less are equal: measured rates are no better than that.
constexpr double kEqualShare = 0.1, kEqualS = 0.001;

// A report is some milliseconds old, so what we sent since is added; but never more than what has
// not ended, nor is the sum less than that.
uint32_t RequestsAt(const WorkerSnapshot& worker) {
  const uint32_t unreported = std::min(worker.started_since_report, worker.in_flight);
  return std::max(worker.running + worker.waiting + unreported, worker.in_flight);
}
uint64_t QueuedTokensAt(const WorkerSnapshot& worker) {
  return worker.prefill_tokens_waiting +
         std::min(worker.prefill_tokens_since_report, worker.prefill_tokens_in_flight);
}

// The average of what workers measured; `usual` if none did.
double AverageOf(absl::Span<const WorkerSnapshot> workers, double WorkerSnapshot::* rate,
                 double usual) {
  double sum = 0;
  int count = 0;
  for (const WorkerSnapshot& worker : workers) {
    if (worker.*rate <= 0) continue;
    sum += worker.*rate;
    ++count;
  }
  return count == 0 ? usual : sum / count;
}

// For each class the worker that has most of the prompt, as an index; of those that may be pulled
// from. A fleet has a few classes.
std::vector<int> BestHolders(absl::Span<const WorkerSnapshot> workers) {
  std::vector<int> holders;
  for (size_t i = 0; i < workers.size(); ++i) {
    const WorkerSnapshot& worker = workers[i];
    if (!worker.ready || worker.numerics_class == 0 || worker.held_tokens == 0) continue;
    const auto found = std::find_if(holders.begin(), holders.end(), [&](int holder) {
      return workers[holder].numerics_class == worker.numerics_class;
    });
    if (found == holders.end()) {
      holders.push_back(static_cast<int>(i));
    } else if (worker.held_tokens > workers[*found].held_tokens) {
      *found = static_cast<int>(i);
    }
  }
  return holders;
}

// Adds to an estimate what its worker would pull, if anything.
void AddPull(absl::Span<const WorkerSnapshot> workers, const WorkerSnapshot& worker,
             absl::Span<const int> holders, const PlacementWish& wish, double prefill_rate,
             double peer_rate, PlacementEstimate& estimate) {
  if (wish.page_tokens == 0 || worker.full_page_bytes == 0) return;
  const auto holder = std::find_if(holders.begin(), holders.end(), [&](int index) {
    return workers[index].numerics_class == worker.numerics_class;
  });
  if (holder == holders.end()) return;
  const WorkerSnapshot& source = workers[*holder];
  const uint32_t held = std::min(wish.prompt_tokens, source.held_tokens);
  if (held <= worker.cached_tokens) return;
  const uint32_t pulled = held - worker.cached_tokens;
  const uint64_t window_pages = std::min(wish.window_pages, held / wish.page_tokens);
  const uint64_t bytes =
      pulled / wish.page_tokens * worker.full_page_bytes + window_pages * worker.sliding_page_bytes;
  const double pull_s = static_cast<double>(bytes) / peer_rate;
  if (pull_s >= pulled / prefill_rate) return;
  estimate.pulled_tokens = pulled;
  estimate.source = *holder;
  estimate.source_address = source.address;
  estimate.pull_s = pull_s;
}

// SplitMix64 (Steele, Lea and Flood 2014): all bits of the result depend on all bits of `value`.
uint64_t Mixed(uint64_t value) {
  value += 0x9e3779b97f4a7c15;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return value ^ (value >> 31);
}
uint64_t ScoreOf(uint64_t affinity, uint64_t address_digest) {
  return Mixed(affinity ^ Mixed(address_digest));
}

// The best of one class; of all if it is 0.
absl::StatusOr<Placement> PlaceInClass(absl::Span<const WorkerSnapshot> workers,
                                       absl::Span<const PlacementEstimate> estimates,
                                       uint64_t numerics_class, uint64_t affinity) {
  const auto usable = [&](const WorkerSnapshot& worker) {
    return IsServing(worker) && (numerics_class == 0 || worker.numerics_class == numerics_class);
  };
  const auto has_room = [&](size_t i) {
    return workers[i].capacity == 0 || estimates[i].requests < workers[i].capacity;
  };
  double least_s = -1;
  bool any_usable = false;
  for (size_t i = 0; i < workers.size(); ++i) {
    if (!usable(workers[i])) continue;
    any_usable = true;
    if (has_room(i) && (least_s < 0 || estimates[i].cost_s < least_s)) {
      least_s = estimates[i].cost_s;
    }
  }
  if (least_s < 0) {
    if (any_usable) return absl::ResourceExhaustedError("All workers are full; try again later.");
    return absl::UnavailableError("No worker is ready; try again later.");
  }
  const double equal_s = least_s * (1 + kEqualShare) + kEqualS;
  Placement best;
  uint64_t best_score = 0;
  bool found = false;
  for (size_t i = 0; i < workers.size(); ++i) {
    if (!usable(workers[i]) || !has_room(i) || estimates[i].cost_s > equal_s) continue;
    const uint64_t score = ScoreOf(affinity, workers[i].address_digest);
    const auto rank = [](const PlacementEstimate& estimate, uint64_t of_score) {
      return std::make_tuple(estimate.source >= 0, estimate.requests, ~of_score);
    };
    if (found && rank(estimates[i], score) >= rank(best.estimate, best_score)) continue;
    best = {static_cast<int>(i), estimates[i]};
    best_score = score;
    found = true;
  }
  return best;
}

}  // namespace

Room RoomAt(const WorkerSnapshot& worker) {
  const double tokens_per_s = worker.prefill_tokens_per_s;
  const double step_tokens =
      tokens_per_s > 0 ? std::max(kStepTokens, tokens_per_s * kStepS) : kUnknownStepTokens;
  // What may be in the report already is not counted beside it: a worker that says nothing new
  // would keep what waits here from it for ever.
  const uint64_t tokens =
      worker.prefill_tokens_waiting +
      std::min(worker.prefill_tokens_after_report, worker.prefill_tokens_in_flight);
  const uint32_t unreported = std::min(worker.started_after_report, worker.in_flight);
  const uint32_t requests =
      std::max(worker.running + worker.waiting + unreported, worker.in_flight);
  Room room;
  room.prompt_tokens = static_cast<int64_t>(step_tokens) - static_cast<int64_t>(tokens);
  int64_t requests_max = worker.capacity == 0 ? std::numeric_limits<int32_t>::max()
                                              : static_cast<int64_t>(worker.capacity);
  if (worker.running_max > 0) {
    const int64_t waiting = std::max(1u, worker.running_max / kRunningShareThatWaits);
    requests_max = std::min(requests_max, worker.running_max + waiting);
  }
  room.requests = requests_max - static_cast<int64_t>(requests);
  return room;
}

FleetRoom RoomOfAll(absl::Span<const WorkerSnapshot> workers) {
  FleetRoom all;
  for (const WorkerSnapshot& worker : workers) {
    if (!IsServing(worker)) continue;
    all.serving = true;
    all.rows += worker.running_max;
    const Room room = RoomAt(worker);
    if (!room.any()) continue;
    all.room.requests += room.requests;
    all.room.prompt_tokens += room.prompt_tokens;
  }
  return all;
}

absl::Status HoldToRoom(absl::Span<WorkerSnapshot> workers) {
  bool serving = false, room_anywhere = false;
  for (WorkerSnapshot& worker : workers) {
    if (!IsServing(worker)) continue;
    serving = true;
    const Room room = RoomAt(worker);
    room_anywhere |= room.any();
    worker.excluded |= room.requests <= 0;
  }
  if (!serving || room_anywhere) return absl::OkStatus();
  return absl::ResourceExhaustedError("All workers are full; try again later.");
}

std::string Explain(const WorkerSnapshot& worker, const PlacementEstimate& estimate) {
  std::string pull;
  if (estimate.source >= 0) {
    pull = absl::StrFormat(" pulled=%d from=%s pull_ms=%.1f", estimate.pulled_tokens,
                           estimate.source_address, estimate.pull_s * 1000);
  }
  return absl::StrFormat("cached=%d%s computed=%d queued=%d requests=%d first_token_ms=%.1f",
                         worker.cached_tokens, pull, estimate.computed_tokens,
                         estimate.queued_tokens, estimate.requests, estimate.first_token_s * 1000);
}

std::vector<PlacementEstimate> EstimateAll(absl::Span<const WorkerSnapshot> workers,
                                           const PlacementWish& wish) {
  const double usual_rate =
      AverageOf(workers, &WorkerSnapshot::prefill_tokens_per_s, kUsualPrefillTokensPerS);
  const double usual_step_s = AverageOf(workers, &WorkerSnapshot::decode_step_s, 0);
  const double usual_row_s = AverageOf(workers, &WorkerSnapshot::decode_row_s, 0);
  const double usual_peer_rate =
      AverageOf(workers, &WorkerSnapshot::peer_bytes_per_s, kUsualPeerBytesPerS);
  const std::vector<int> holders = BestHolders(workers);
  std::vector<PlacementEstimate> estimates(workers.size());
  for (size_t i = 0; i < workers.size(); ++i) {
    const WorkerSnapshot& worker = workers[i];
    const bool measured_steps = worker.decode_step_s > 0;
    const double rate = worker.prefill_tokens_per_s > 0 ? worker.prefill_tokens_per_s : usual_rate;
    const double step_s = measured_steps ? worker.decode_step_s : usual_step_s;
    const double row_s = measured_steps ? worker.decode_row_s : usual_row_s;
    PlacementEstimate& estimate = estimates[i];
    estimate.requests = RequestsAt(worker);
    estimate.queued_tokens = QueuedTokensAt(worker);
    AddPull(workers, worker, holders, wish, rate,
            worker.peer_bytes_per_s > 0 ? worker.peer_bytes_per_s : usual_peer_rate, estimate);
    estimate.computed_tokens =
        wish.prompt_tokens -
        std::min(wish.prompt_tokens, worker.cached_tokens + estimate.pulled_tokens);
    const double queue_s = static_cast<double>(estimate.queued_tokens) / rate;
    const double compute_s = estimate.computed_tokens / rate;
    estimate.first_token_s =
        queue_s + compute_s + estimate.pull_s + step_s + estimate.requests * row_s;
    estimate.cost_s = estimate.first_token_s + compute_s + estimate.pulled_tokens / usual_rate +
                      wish.answer_tokens * row_s * (2.0 * estimate.requests + 1);
  }
  return estimates;
}

absl::StatusOr<Placement> Place(absl::Span<const WorkerSnapshot> workers,
                                const PlacementWish& wish) {
  const std::vector<PlacementEstimate> estimates = EstimateAll(workers, wish);
  absl::StatusOr<Placement> placement =
      PlaceInClass(workers, estimates, wish.numerics_class, wish.affinity);
  if (wish.numerics_class == 0 || !wish.may_change_class ||
      !absl::IsUnavailable(placement.status())) {
    return placement;
  }
  placement = PlaceInClass(workers, estimates, 0, wish.affinity);
  if (placement.ok()) placement->exact = false;
  return placement;
}

}  // namespace facet
