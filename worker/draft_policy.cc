#include "worker/draft_policy.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace facet {
namespace {

constexpr double kSmoothing = 0.25;   // weight of the newest measurement
constexpr double kOutlier = 2.0;      // one measurement counts as at most this many averages
constexpr int kForgetAfter = 400;     // measurements of other sizes
constexpr double kMemory = 0.95;      // of an older try, when a new one comes
constexpr double kSkipMemory = 0.99;  // of an older try, for each step without drafts
constexpr double kGainMin = 1.03;

// Sizes up to 8 rows each for itself, then four for each doubling.
int IndexOf(int rows) {
  if (rows <= 8) return rows - 1;
  return std::min(31, 8 + static_cast<int>(4 * std::log2(rows / 8.0)));
}

}  // namespace

void StepCosts::Add(int rows, double seconds) {
  CHECK_GT(rows, 0);
  for (Size& size : sizes_) {
    if (++size.age > kForgetAfter) size.seconds = 0;
  }
  Size& size = sizes_[IndexOf(rows)];
  size.age = 0;
  if (size.seconds == 0) {
    size.seconds = seconds;
    size.rows = rows;
    return;
  }
  size.seconds += kSmoothing * (std::min(seconds, kOutlier * size.seconds) - size.seconds);
  size.rows += kSmoothing * (rows - size.rows);
}

double StepCosts::Estimate(int rows) const {
  const Size* below = nullptr;
  const Size* above = nullptr;
  for (const Size& size : sizes_) {
    if (size.seconds == 0) continue;
    if (size.rows <= rows) below = &size;
    if (size.rows >= rows && above == nullptr) above = &size;
  }
  if (below == nullptr) return above == nullptr ? 0 : above->seconds;
  if (above == nullptr || above->rows <= below->rows) return below->seconds;
  const double share = (rows - below->rows) / (above->rows - below->rows);
  return below->seconds + share * (above->seconds - below->seconds);
}

void DraftAcceptance::Add(int proposed, int accepted) {
  for (int i = 0; i < std::min(proposed, accepted + 1); ++i) {
    tried_ = kMemory * tried_ + 1;
    accepted_ = kMemory * accepted_ + (i < accepted ? 1 : 0);
  }
}

void DraftAcceptance::Skip() {
  tried_ += (1 - kSkipMemory) * (kPriorTries - tried_);
  accepted_ += (1 - kSkipMemory) * (kUsualShare * kPriorTries - accepted_);
}

int ChooseDraftCount(const DraftSituation& situation, const StepCosts& target,
                     const StepCosts& drafter) {
  const int sequences = static_cast<int>(situation.acceptance.size());
  if (sequences == 0) return 0;
  double plain_rate = 0, best_rate = 0;
  int best = 0;
  for (int count = 0; count <= situation.drafts_max; ++count) {
    if (count * sequences > situation.draft_rows_max) break;
    double tokens = 0;  // 1 + a + a^2 + ... of each sequence
    for (const double share : situation.acceptance) {
      double likelihood = 1;
      for (int i = 0; i <= count; ++i, likelihood *= share) tokens += likelihood;
    }
    const double seconds = target.Estimate(situation.other_rows + sequences * (1 + count)) +
                           (count == 0 ? 0 : count * drafter.Estimate(sequences));
    // Without a measurement, as under a clock that stands still, only the tokens count.
    const double rate = seconds > 0 ? tokens / seconds : tokens;
    if (count == 0) plain_rate = rate;
    if (rate > best_rate && (count == 0 || rate >= kGainMin * plain_rate)) {
      best_rate = rate;
      best = count;
    }
  }
  return best;
}

}  // namespace facet
