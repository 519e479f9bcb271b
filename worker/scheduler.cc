#include "worker/scheduler.h"

#include <algorithm>

#include "kernels/device.h"

namespace facet {
namespace {

int32_t PagesOf(int tokens) { return (tokens + kPageTokens - 1) / kPageTokens; }

// The plan as it grows, with what is left of tokens and pages.
class Planner {
 public:
  Planner(const SchedulerSnapshot& snapshot, const SchedulerLimits& limits)
      : sequences_(snapshot.sequences),
        full_free_(snapshot.full_free),
        sliding_free_(snapshot.sliding_free),
        tokens_left_(limits.step_tokens_max),
        gone_(snapshot.sequences.size(), false) {
    for (const SchedulerSequence& sequence : sequences_) running_count_ += sequence.running ? 1 : 0;
  }

  void Decodes();
  void Prefills();
  void Admissions(int running_requests_max);
  StepPlan Take() { return std::move(plan_); }

 private:
  int Pending(int i) const { return sequences_[i].token_count - sequences_[i].computed_len; }

  // Both pools grow by the same logical pages; a sliding page given back never comes again.
  int32_t NewPages(int i, int tokens) const {
    const int computed = sequences_[i].computed_len;
    return PagesOf(computed + tokens) - PagesOf(computed);
  }
  bool Fits(int32_t pages) const { return pages <= full_free_ && pages <= sliding_free_; }

  void Run(int i, int tokens) {
    const int32_t pages = NewPages(i, tokens);
    full_free_ -= pages;
    sliding_free_ -= pages;
    tokens_left_ -= tokens;
    plan_.runs.push_back({i, tokens});
  }

  // Frees pages by preempting the last admitted sequence that is not planned yet and comes after
  // `i`. False if there is none.
  bool PreemptAfter(int i);
  // The most tokens, up to `wanted`, whose pages are free; preempts for the first of them.
  int MakeRoom(int i, int wanted);

  const std::vector<SchedulerSequence>& sequences_;
  int32_t full_free_;
  int32_t sliding_free_;
  int tokens_left_;
  int running_count_ = 0;
  std::vector<bool> gone_;  // preempted in this plan
  StepPlan plan_;
};

bool Planner::PreemptAfter(int i) {
  for (int victim = static_cast<int>(sequences_.size()) - 1; victim > i; --victim) {
    const bool planned = std::any_of(plan_.runs.begin(), plan_.runs.end(),
                                     [&](const auto& run) { return run.sequence == victim; });
    if (!sequences_[victim].running || gone_[victim] || planned) continue;
    gone_[victim] = true;
    --running_count_;
    full_free_ += sequences_[victim].full_pages;
    sliding_free_ += sequences_[victim].sliding_pages;
    plan_.preempted.push_back(victim);
    return true;
  }
  return false;
}

int Planner::MakeRoom(int i, int wanted) {
  while (!Fits(NewPages(i, 1)) && PreemptAfter(i)) {
  }
  const int computed = sequences_[i].computed_len;
  const int64_t pages = PagesOf(computed) + std::min(full_free_, sliding_free_);
  return static_cast<int>(std::min<int64_t>(wanted, pages * kPageTokens - computed));
}

void Planner::Decodes() {
  for (int i = 0; i < static_cast<int>(sequences_.size()); ++i) {
    if (!sequences_[i].running || gone_[i] || Pending(i) != 1 || tokens_left_ == 0) continue;
    if (MakeRoom(i, 1) == 1) Run(i, 1);
  }
}

void Planner::Prefills() {
  for (int i = 0; i < static_cast<int>(sequences_.size()); ++i) {
    if (!sequences_[i].running || gone_[i] || Pending(i) < 2 || tokens_left_ == 0) continue;
    const int tokens = MakeRoom(i, std::min(Pending(i), tokens_left_));
    if (tokens > 0) Run(i, tokens);
  }
}

void Planner::Admissions(int running_requests_max) {
  // One that was just preempted would take its pages back.
  if (!plan_.preempted.empty()) return;
  for (int i = 0; i < static_cast<int>(sequences_.size()); ++i) {
    const SchedulerSequence& sequence = sequences_[i];
    if (sequence.running || sequence.deferred) continue;
    if (running_count_ >= running_requests_max || tokens_left_ == 0) return;
    const int chunk = std::min(Pending(i), tokens_left_);
    // All its full pages must be free; sliding pages come back as its window moves on.
    const int32_t full = PagesOf(sequence.token_count) - PagesOf(sequence.computed_len);
    if (full + sequence.full_pages > full_free_ ||
        NewPages(i, chunk) + sequence.sliding_pages > sliding_free_) {
      return;
    }
    ++running_count_;
    full_free_ -= sequence.full_pages;
    sliding_free_ -= sequence.sliding_pages;
    Run(i, chunk);
  }
}

}  // namespace

StepPlan PlanStep(const SchedulerSnapshot& snapshot, const SchedulerLimits& limits) {
  Planner planner(snapshot, limits);
  planner.Decodes();
  planner.Prefills();
  planner.Admissions(limits.running_requests_max);
  return planner.Take();
}

}  // namespace facet
