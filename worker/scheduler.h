#ifndef FACET_WORKER_SCHEDULER_H_
#define FACET_WORKER_SCHEDULER_H_

#include <cstdint>
#include <vector>

#include "absl/time/time.h"
#include "absl/types/span.h"

namespace facet {

// Positions [begin, end) of a sequence.
struct TokenSpan {
  int begin;
  int end;
};

// What the scheduler knows of one sequence.
// computed_len <= token_count: the tokens whose keys and values are stored, and all there are. Of
// one that waits, computed_len is what a cached prefix would give it.
struct SchedulerSequence {
  int computed_len = 0;
  int token_count = 0;
  bool running = false;  // it holds pages; otherwise it waits and holds none
  // Running: pages that come free when it is preempted, those that no other holds. Waiting: pages
  // of its cached prefix that are counted as free now and no longer will be.
  int32_t full_pages = 0;
  int32_t sliding_pages = 0;
  int32_t held_pages = 0;  // running: the logical pages that it has, shared ones included
  // Another sequence computes its next page right now; it waits for that rather than do it again.
  bool deferred = false;
  int drafts = 0;    // guessed tokens after the last one, to be verified with it
  int priority = 0;  // the greater, the sooner
  bool all_outputs = false;  // each row of its prompt is an output row; then it has no images
  absl::Span<const TokenSpan> images = {};  // each goes in one step; ascending
};

struct SchedulerSnapshot {
  // In order of precedence: those that run, then those that wait, each by Precedes.
  std::vector<SchedulerSequence> sequences;
  int32_t full_free = 0;
  int32_t sliding_free = 0;
};

struct SchedulerLimits {
  int step_tokens_max = 512;      // rows of one step, unless an image alone needs more
  int running_requests_max = 64;  // sequences that hold pages at once
  int draft_rows_max = 0;         // rows of one step that drafts may take
  int prefill_tokens_max = 0;     // of prompts in one step, unless one image is more; 0: no limit
  int rows_max = 0;               // rows of one step, an image included; 0: step_tokens_max
  // Output rows of one step: at least running_requests_max + draft_rows_max, since each sequence
  // may have one, and each draft; 0: no limit.
  int output_rows_max = 0;
};

// Where a sequence stands among others that wait.
struct Standing {
  int priority = 0;
  absl::Duration waited;            // since its arrival
  absl::Duration time_to_deadline;  // absl::InfiniteDuration() without one
};
// Whether `a` goes before `b`: the greater priority, then the earlier deadline, then the earlier
// arrival. Each half minute of waiting counts as one more of priority, so nobody starves.
bool Precedes(const Standing& a, const Standing& b);

// What to do in the next step. Indices are those of the snapshot.
struct StepPlan {
  struct Run {
    int sequence;
    int tokens;  // from computed_len on; at least 1; of a decode, 1 and the drafts to verify
  };
  std::vector<Run> runs;
  std::vector<int>
      preempted;  // give all pages back first; they wait again, at the head of the queue
};

// Plans one step: a pure function. Each sequence with one token left to compute (a decode) gets it,
// then its drafts as far as there is room; what is left of the step's tokens goes to prefills in
// order of precedence, in chunks. Where pages run out, the last sequence in that order is
// preempted, so the first always goes on. A waiting sequence is admitted when pages for all its
// tokens are free; sequences of lower priority are preempted for it. Guarantee: if any sequence has
// tokens to compute and fits into the empty pools, `runs` and `preempted` are not both empty. At
// most one run for each sequence.
StepPlan PlanStep(const SchedulerSnapshot& snapshot, const SchedulerLimits& limits);

}  // namespace facet

#endif  // FACET_WORKER_SCHEDULER_H_
