#ifndef FACET_WORKER_DRAFT_POLICY_H_
#define FACET_WORKER_DRAFT_POLICY_H_

#include <array>
#include <vector>

namespace facet {

// Seconds that a step takes by its number of rows, as measured lately: a moving average for each
// of some sizes. Sizes that were not measured for long are forgotten, so that one unlucky
// measurement does not rule them out for ever.
class StepCosts {
 public:
  void Add(int rows, double seconds);
  // Between measured sizes a line; beyond the largest, what that one took: an unknown size is
  // thought cheap, so it is tried and then known. 0 while nothing is measured.
  double Estimate(int rows) const;

 private:
  struct Size {
    double seconds = 0;  // 0: not measured
    double rows = 0;     // the average number of rows behind it
    int age = 0;         // measurements of other sizes since
  };
  std::array<Size, 32> sizes_;
};

// How likely a sequence's next draft is to be accepted, given that those before it were: a moving
// share, which begins at what is usual for a drafter.
class DraftAcceptance {
 public:
  // A step accepted `accepted` of `proposed` drafts; the first that is refused ends it.
  void Add(int proposed, int accepted);
  // A step without drafts: the share drifts back to the usual, so that drafting is tried again.
  void Skip();
  double share() const { return accepted_ / tried_; }

 private:
  static constexpr double kUsualShare = 0.7;
  static constexpr double kPriorTries = 4;
  double accepted_ = kUsualShare * kPriorTries;
  double tried_ = kPriorTries;
};

struct DraftSituation {
  std::vector<double> acceptance;  // of each sequence that decodes in the next step
  int other_rows = 0;              // rows of that step beside theirs
  int drafts_max = 0;              // of one sequence
  int draft_rows_max = 0;          // of all together
};

// How many tokens to draft for each sequence: the number with the most expected tokens a second,
// and none where that gains less than 3 %. A pure function of measured costs of the target's and
// the drafter's steps (Leviathan et al. 2023, section 3.3, with measured times in place of the cost
// coefficient).
int ChooseDraftCount(const DraftSituation& situation, const StepCosts& target,
                     const StepCosts& drafter);

}  // namespace facet

#endif  // FACET_WORKER_DRAFT_POLICY_H_
