#ifndef FACET_WORKER_LOGIT_ROW_H_
#define FACET_WORKER_LOGIT_ROW_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace facet {

// What a logit is taken for instead of its value in the row.
struct LogitOverride {
  int32_t id;
  float logit;
};

struct Candidate {
  float logit;
  int32_t id;
  // The order of candidates: likelier first, then the lower id.
  bool operator<(const Candidate& other) const {
    return logit > other.logit || (logit == other.logit && id < other.id);
  }
};

// Turns logits into weights, exp((logit - maximum) / temperature), by float arithmetic that gives
// the same bits whatever the vector width, with a relative error of about 1e-7 times the exponent:
// what rounding to float did to the logits themselves.
//
// A logit more than kNegligible below the maximum weighs nothing. That changes no draw but by
// rounding: 2^18 such logits together weigh less than 2^(18 - 72) = 2^-54 of the maximum alone,
// which is half the step of the draws (2^-53) and half the last bit of their sum.
class Softmax {
 public:
  // REQUIRES: `maximum` is finite, `temperature` > 0, and no logit is larger than `maximum`.
  Softmax(float maximum, float temperature);

  float Weight(float logit) const;  // [0, 1]
  std::vector<float> Weights(absl::Span<const Candidate> candidates) const;
  // True if each logit up to `logit` weighs nothing.
  bool Negligible(float logit) const;
  // The sum of the weights of `logits` [LogitRow::kBlock].
  double SumOfBlock(const float* logits) const;

 private:
  float maximum_;
  float scale_;  // log2(e) / temperature, at most kScaleMax
};

// One row of logits as a sampler sees it: some replaced, some masked away, none of them copied. The
// constructor reads the row once and keeps the maximum of each block of ids; what comes after
// visits only blocks whose maximum says that they matter. NaN is never chosen. No lock: one thread.
class LogitRow {
 public:
  static constexpr int kBlock = 128;  // ids. Whole words of a mask, whole vectors of any width.

  // `overrides` are sorted by id, each id once. `mask` has a bit for each id, id % 32 of word
  // id / 32, set if the id may be chosen; none: all may. The three must outlive the row.
  // REQUIRES: ids of `overrides` are below the row's size; `mask` is empty or has enough words.
  explicit LogitRow(absl::Span<const float> logits, absl::Span<const LogitOverride> overrides = {},
                    absl::Span<const uint32_t> mask = {});

  size_t size() const { return logits_.size(); }
  // -infinity: no id may be chosen.
  float maximum() const { return maximum_; }
  // The lowest id that has the maximum. REQUIRES: maximum() > -infinity.
  int32_t MostLikely() const;

  // The first `count` candidates by their order, or all that may be chosen if these are fewer. They
  // come by ascending id, so that sums over them have one order on any platform. Time grows with
  // the row and `count`, without a sort. REQUIRES: count > 0.
  std::vector<Candidate> Best(size_t count) const;
  // The sum of all weights.
  double SumOfWeights(const Softmax& softmax) const;

 private:
  enum class Allowed { kNone, kSome, kAll };
  Allowed AllowedOf(int block) const;  // by the mask
  // The logits of a block as overridden and masked: kBlock of them, -infinity past the row's end.
  // They lie in the row itself where nothing changes them, else in `scratch` [kBlock].
  const float* Block(int block, float* scratch) const;

  const absl::Span<const float> logits_;
  const absl::Span<const LogitOverride> overrides_;
  const absl::Span<const uint32_t> mask_;
  std::vector<int32_t> first_override_;  // of each block, and one past the last; empty if none
  std::vector<float> block_maxima_;
  float maximum_;
};

}  // namespace facet

#endif  // FACET_WORKER_LOGIT_ROW_H_
