#include "worker/tier_decision.h"

#include <algorithm>

namespace facet {
namespace {

constexpr double kFade = 0.9;  // what a measurement weighs after the next one

double Seconds(int64_t amount, double per_s) {
  return per_s > 0 ? static_cast<double>(amount) / per_s : 0;
}

}  // namespace

void MeasuredRate::Add(double amount, absl::Duration took) {
  if (took <= absl::ZeroDuration()) return;
  amount_ = kFade * amount_ + amount;
  seconds_ = kFade * seconds_ + absl::ToDoubleSeconds(took);
}

bool MoveIsSooner(const TierMove& move, const TierRates& rates) {
  if (rates.prefill_tokens_per_s <= 0) return true;
  const double moving = Seconds(move.disk_bytes, rates.disk_bytes_per_s) +
                        Seconds(move.peer_bytes, rates.peer_bytes_per_s) +
                        Seconds(move.host_bytes, rates.host_bytes_per_s);
  return moving < Seconds(move.tokens, rates.prefill_tokens_per_s);
}

absl::Duration PullTimeout(int64_t tokens, const TierRates& rates) {
  if (rates.prefill_tokens_per_s <= 0) return kPullTimeoutMax;
  const absl::Duration computing = absl::Seconds(Seconds(tokens, rates.prefill_tokens_per_s));
  return std::clamp(2 * computing, kPullTimeoutMin, kPullTimeoutMax);
}

}  // namespace facet
