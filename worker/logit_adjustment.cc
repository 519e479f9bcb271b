#include "worker/logit_adjustment.h"

#include <bit>
#include <cstddef>
#include <limits>

#include "base/check.h"

namespace facet {
namespace {

// A set of ids below a bound that numbers its members by ascending id. Two passes over bits replace
// a sort of all tokens, which in long contexts would cost more than the row itself.
class RankedIds {
 public:
  explicit RankedIds(size_t bound)
      : bound_(bound), bits_((bound + 63) / 64), before_(bits_.size()) {}

  void Add(int32_t id) {
    CHECK_LT(static_cast<size_t>(id), bound_);
    bits_[id / 64] |= uint64_t{1} << (id % 64);
  }
  // The members; after this none may be added.
  std::vector<int32_t> Rank() {
    std::vector<int32_t> ids;
    for (size_t word = 0; word < bits_.size(); ++word) {
      before_[word] = static_cast<int32_t>(ids.size());
      for (uint64_t bits = bits_[word]; bits != 0; bits &= bits - 1) {
        ids.push_back(static_cast<int32_t>(word) * 64 + std::countr_zero(bits));
      }
    }
    return ids;
  }
  // Where the member `id` stands among them.
  int RankOf(int32_t id) const {
    return before_[id / 64] + std::popcount(bits_[id / 64] & ((uint64_t{1} << (id % 64)) - 1));
  }

 private:
  const size_t bound_;
  std::vector<uint64_t> bits_;
  std::vector<int32_t> before_;  // how many members lie in the words before each
};

struct Uses {
  bool seen = false;  // in the prompt or after
  int generated_count = 0;
};

}  // namespace

std::vector<LogitOverride> AdjustLogits(absl::Span<const float> logits,
                                        const v1::Sampling& sampling,
                                        absl::Span<const int32_t> tokens, int prompt_count,
                                        absl::Span<const int> suppressed) {
  const float repetition = sampling.repetition_penalty() == 0 ? 1 : sampling.repetition_penalty();
  const float presence = sampling.presence_penalty(), frequency = sampling.frequency_penalty();
  const absl::Span<const int32_t> generated = tokens.subspan(prompt_count);
  absl::Span<const int32_t> counted;  // whose ids a penalty asks for
  if (presence != 0 || frequency != 0) counted = generated;
  if (repetition != 1) counted = tokens;

  RankedIds touched(logits.size());
  for (const auto& [id, bias] : sampling.logit_bias()) touched.Add(static_cast<int32_t>(id));
  for (const int32_t id : counted) touched.Add(id);
  for (const int id : suppressed) touched.Add(id);
  std::vector<LogitOverride> adjusted;
  for (const int32_t id : touched.Rank()) adjusted.push_back({id, logits[id]});

  for (const auto& [id, bias] : sampling.logit_bias()) {
    adjusted[touched.RankOf(static_cast<int32_t>(id))].logit += bias;
  }
  if (!counted.empty()) {
    std::vector<Uses> uses(adjusted.size());
    for (const int32_t id : counted) uses[touched.RankOf(id)].seen = true;
    for (const int32_t id : generated) ++uses[touched.RankOf(id)].generated_count;
    for (size_t i = 0; i < adjusted.size(); ++i) {
      float& logit = adjusted[i].logit;
      if (uses[i].seen) logit = logit > 0 ? logit / repetition : logit * repetition;
      if (uses[i].generated_count > 0) {
        logit -= presence + static_cast<float>(uses[i].generated_count) * frequency;
      }
    }
  }
  for (const int id : suppressed) {
    adjusted[touched.RankOf(id)].logit = -std::numeric_limits<float>::infinity();
  }
  return adjusted;
}

}  // namespace facet
