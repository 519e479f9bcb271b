#ifndef FACET_WORKER_TIER_DECISION_H_
#define FACET_WORKER_TIER_DECISION_H_

#include <cstdint>

#include "absl/time/time.h"

namespace facet {

// An amount per second, as the last few measurements had it: long ones count for more than short
// ones, and old ones fade.
class MeasuredRate {
 public:
  void Add(double amount, absl::Duration took);
  // 0: not measured yet.
  double per_s() const { return seconds_ > 0 ? amount_ / seconds_ : 0; }

 private:
  double amount_ = 0;
  double seconds_ = 0;
};

// What moving and computing cost, as measured; 0: not measured yet.
struct TierRates {
  double prefill_tokens_per_s = 0;
  double host_bytes_per_s = 0;  // from host memory to the device
  double disk_bytes_per_s = 0;  // from disk to host memory, checksums included
  double peer_bytes_per_s =
      0;  // from another worker to host memory, waiting and checksums included
};

// Pages that could be brought to the device, and the tokens that then need no computing.
struct TierMove {
  int64_t tokens = 0;
  int64_t host_bytes = 0;  // to be copied from host memory, those below among them
  int64_t disk_bytes = 0;  // to be read from disk before
  int64_t peer_bytes = 0;  // to be pulled from another worker before
};

// Whether moving the pages takes less time than computing their tokens. What was not measured yet
// is taken as fast, for only moving measures it.
bool MoveIsSooner(const TierMove& move, const TierRates& rates);

// How long a pull of so many tokens' pages may take: twice as long as computing them would, so that
// a worker that does not answer costs its puller no more than that; and within what serves where
// little is to be computed or nothing was measured.
absl::Duration PullTimeout(int64_t tokens, const TierRates& rates);
inline constexpr absl::Duration kPullTimeoutMin = absl::Milliseconds(200);
inline constexpr absl::Duration kPullTimeoutMax = absl::Minutes(1);

}  // namespace facet

#endif  // FACET_WORKER_TIER_DECISION_H_
