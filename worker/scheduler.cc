#include "worker/scheduler.h"

#include <algorithm>
#include <limits>
#include <tuple>

#include "kernels/device.h"

namespace facet {
namespace {

// Waiting this long counts as one more of priority.
constexpr absl::Duration kPriorityStep = absl::Seconds(30);

int32_t PagesOf(int tokens) { return (tokens + kPageTokens - 1) / kPageTokens; }

// The plan as it grows, with what is left of tokens and pages.
class Planner {
 public:
  Planner(const SchedulerSnapshot& snapshot, const SchedulerLimits& limits)
      : sequences_(snapshot.sequences),
        limits_(limits),
        full_free_(snapshot.full_free),
        sliding_free_(snapshot.sliding_free),
        tokens_left_(limits.step_tokens_max),
        output_rows_left_(limits.output_rows_max > 0 ? limits.output_rows_max
                                                     : std::numeric_limits<int>::max()),
        gone_(snapshot.sequences.size(), false) {
    for (const SchedulerSequence& sequence : sequences_) running_count_ += sequence.running ? 1 : 0;
  }

  void Urgent();
  void Decodes();
  void Drafts();
  void LimitPrefills();
  void Prefills();
  void Admissions();
  StepPlan Take() { return std::move(plan_); }

 private:
  int Pending(int i) const { return sequences_[i].token_count - sequences_[i].computed_len; }

  // Logical pages that a sequence has, or will have from the cache. After drafts were refused it
  // may hold a page more than its tokens fill.
  int32_t Held(int i) const {
    return sequences_[i].running ? sequences_[i].held_pages : PagesOf(sequences_[i].computed_len);
  }
  // Both pools grow by the same logical pages; a sliding page given back never comes again.
  int32_t NewPages(int i, int tokens) const {
    return std::max(0, PagesOf(sequences_[i].computed_len + tokens) - Held(i));
  }
  bool Fits(int32_t pages) const { return pages <= full_free_ && pages <= sliding_free_; }

  void Run(int i, int tokens) {
    const int32_t pages = NewPages(i, tokens);
    full_free_ -= pages;
    sliding_free_ -= pages;
    tokens_left_ -= tokens;
    rows_planned_ += tokens;
    output_rows_left_ -= sequences_[i].all_outputs ? tokens : 1;
    plan_.runs.push_back({i, tokens});
  }

  void Preempt(int victim);
  // Frees pages by preempting the last sequence that is not planned yet and comes after `i`. False
  // if there is none.
  bool PreemptAfter(int i);
  // Whether a waiting sequence's pages are free: all its full pages, and the sliding pages of its
  // first chunk; more sliding pages come back as its window moves on.
  bool CanAdmit(int i, int chunk) const;
  // The next `tokens` of a sequence, made fewer where they would end inside an image; more, where
  // they begin in it.
  int WholeImages(int i, int tokens) const;
  // The next chunk of a prompt, by the tokens that are left in this step. 0: none in this step.
  int ChunkOf(int i) const;
  // The most tokens, up to `wanted`, whose pages are free; preempts for the first of them.
  int MakeRoom(int i, int wanted);

  const std::vector<SchedulerSequence>& sequences_;
  const SchedulerLimits& limits_;
  int32_t full_free_;
  int32_t sliding_free_;
  int tokens_left_;  // below 0: an image took more
  int output_rows_left_;
  int rows_planned_ = 0;
  int running_count_ = 0;
  std::vector<bool> gone_;  // preempted in this plan
  StepPlan plan_;
};

void Planner::Preempt(int victim) {
  gone_[victim] = true;
  --running_count_;
  full_free_ += sequences_[victim].full_pages;
  sliding_free_ += sequences_[victim].sliding_pages;
  plan_.preempted.push_back(victim);
}

bool Planner::PreemptAfter(int i) {
  for (int victim = static_cast<int>(sequences_.size()) - 1; victim > i; --victim) {
    const bool planned = std::any_of(plan_.runs.begin(), plan_.runs.end(),
                                     [&](const auto& run) { return run.sequence == victim; });
    if (!sequences_[victim].running || gone_[victim] || planned) continue;
    Preempt(victim);
    return true;
  }
  return false;
}

bool Planner::CanAdmit(int i, int chunk) const {
  const SchedulerSequence& sequence = sequences_[i];
  const int32_t full = PagesOf(sequence.token_count) - PagesOf(sequence.computed_len);
  return running_count_ < limits_.running_requests_max &&
         full + sequence.full_pages <= full_free_ &&
         NewPages(i, chunk) + sequence.sliding_pages <= sliding_free_;
}

void Planner::Urgent() {
  const auto waiting = std::find_if(
      sequences_.begin(), sequences_.end(),
      [](const SchedulerSequence& sequence) { return !sequence.running && !sequence.deferred; });
  if (waiting == sequences_.end()) return;
  const int i = static_cast<int>(waiting - sequences_.begin());
  const int chunk = WholeImages(i, std::min(Pending(i), limits_.step_tokens_max));
  // Tried on a copy: nobody is preempted for one that does not fit even then.
  Planner tried = *this;
  for (int victim = i - 1; victim >= 0 && !tried.CanAdmit(i, chunk); --victim) {
    if (sequences_[victim].priority < waiting->priority) tried.Preempt(victim);
  }
  if (!tried.CanAdmit(i, chunk)) return;
  for (const int victim : tried.plan_.preempted) Preempt(victim);
}

int Planner::WholeImages(int i, int tokens) const {
  const int begin = sequences_[i].computed_len;
  int end = begin + tokens;
  for (const TokenSpan& image : sequences_[i].images) {
    if (image.begin >= end || image.end <= end) continue;
    end = image.begin > begin ? image.begin : image.end;
  }
  return end - begin;
}

int Planner::ChunkOf(int i) const {
  if (output_rows_left_ <= 0) return 0;
  if (sequences_[i].all_outputs) return std::min({Pending(i), tokens_left_, output_rows_left_});
  const int tokens = WholeImages(i, std::min(Pending(i), tokens_left_));
  // Only an image makes it more than what is left; it has room beside the decodes.
  const int rows_max = std::max(limits_.rows_max, limits_.step_tokens_max);
  return tokens <= tokens_left_ || rows_planned_ + tokens <= rows_max ? tokens : 0;
}

int Planner::MakeRoom(int i, int wanted) {
  const int needed = std::min(wanted, WholeImages(i, 1));
  while (!Fits(NewPages(i, needed)) && PreemptAfter(i)) {
  }
  const int64_t pages = Held(i) + std::min(full_free_, sliding_free_);
  const int room =
      static_cast<int>(std::min<int64_t>(wanted, pages * kPageTokens - sequences_[i].computed_len));
  return room < needed ? 0 : std::min(room, WholeImages(i, room));
}

void Planner::Decodes() {
  for (int i = 0; i < static_cast<int>(sequences_.size()); ++i) {
    if (!sequences_[i].running || gone_[i] || Pending(i) != 1 || tokens_left_ == 0) continue;
    if (MakeRoom(i, 1) == 1) Run(i, 1);
  }
}

void Planner::Drafts() {
  int draft_rows_left = limits_.draft_rows_max;
  for (StepPlan::Run& run : plan_.runs) {
    const SchedulerSequence& sequence = sequences_[run.sequence];
    int drafts = std::min({sequence.drafts, draft_rows_left, tokens_left_});
    while (drafts > 0 && !Fits(NewPages(run.sequence, 1 + drafts) - NewPages(run.sequence, 1))) {
      --drafts;
    }
    const int32_t pages = NewPages(run.sequence, 1 + drafts) - NewPages(run.sequence, 1);
    full_free_ -= pages;
    sliding_free_ -= pages;
    draft_rows_left -= drafts;
    tokens_left_ -= drafts;
    rows_planned_ += drafts;
    output_rows_left_ -= drafts;
    run.tokens += drafts;
  }
}

void Planner::LimitPrefills() {
  if (limits_.prefill_tokens_max > 0) {
    tokens_left_ = std::min(tokens_left_, limits_.prefill_tokens_max);
  }
}

void Planner::Prefills() {
  for (int i = 0; i < static_cast<int>(sequences_.size()); ++i) {
    if (!sequences_[i].running || gone_[i] || Pending(i) < 2 || tokens_left_ <= 0) continue;
    const int chunk = ChunkOf(i);
    if (chunk == 0) continue;
    if (const int tokens = MakeRoom(i, chunk); tokens > 0) Run(i, tokens);
  }
}

void Planner::Admissions() {
  // What a preempted sequence shared with one that waits is counted in the next step.
  if (!plan_.preempted.empty()) return;
  for (int i = 0; i < static_cast<int>(sequences_.size()); ++i) {
    const SchedulerSequence& sequence = sequences_[i];
    if (sequence.running || sequence.deferred) continue;
    if (tokens_left_ <= 0) return;
    const int chunk = ChunkOf(i);
    if (chunk == 0 || !CanAdmit(i, chunk)) return;
    ++running_count_;
    full_free_ -= sequence.full_pages;
    sliding_free_ -= sequence.sliding_pages;
    Run(i, chunk);
  }
}

}  // namespace

bool Precedes(const Standing& a, const Standing& b) {
  const auto key = [](const Standing& standing) {
    const int64_t patience = standing.waited / kPriorityStep;
    return std::make_tuple(-(standing.priority + patience), standing.time_to_deadline,
                           -standing.waited);
  };
  return key(a) < key(b);
}

StepPlan PlanStep(const SchedulerSnapshot& snapshot, const SchedulerLimits& limits) {
  Planner planner(snapshot, limits);
  planner.Urgent();
  planner.Decodes();
  planner.Drafts();
  planner.LimitPrefills();
  planner.Prefills();
  planner.Admissions();
  return planner.Take();
}

}  // namespace facet
