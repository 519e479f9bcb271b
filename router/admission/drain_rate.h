#ifndef FACET_ROUTER_ADMISSION_DRAIN_RATE_H_
#define FACET_ROUTER_ADMISSION_DRAIN_RATE_H_

#include <cmath>
#include <optional>

namespace facet {

// How fast a queue empties: tokens a second that left it while something waited and somebody was
// there to take it, over the last half minute or so. Holds no lock and no clock.
class DrainRate {
 public:
  // Time has come to `now_s`; since the last call the queue was being drained, or not.
  void Advance(double now_s, bool draining) {
    const double passed_s = now_s - last_s_;
    last_s_ = now_s;
    if (!draining || passed_s <= 0) return;
    const double kept = std::exp(-passed_s / kMemoryS);
    seconds_ = seconds_ * kept + passed_s;
    tokens_ *= kept;
  }
  // So many tokens left it.
  void Add(double tokens) { tokens_ += tokens; }

  // None until enough was seen to tell.
  std::optional<double> tokens_per_s() const {
    if (seconds_ < kSecondsMin) return std::nullopt;
    return tokens_ / seconds_;
  }

 private:
  static constexpr double kMemoryS = 20;
  static constexpr double kSecondsMin = 0.5;

  double last_s_ = 0;
  double seconds_ = 0, tokens_ = 0;
};

}  // namespace facet

#endif  // FACET_ROUTER_ADMISSION_DRAIN_RATE_H_
