#ifndef FACET_WORKER_SAMPLER_H_
#define FACET_WORKER_SAMPLER_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "proto/sampling.pb.h"
#include "worker/logit_row.h"

namespace facet {

// Alternatives beside each token, of which log probabilities may be asked for.
inline constexpr uint32_t kTopLogprobsMax = 20;

// What a request has so far: the sampler's only other input.
struct SamplerContext {
  absl::Span<const int32_t> tokens;  // prompt, then what was generated
  int prompt_count = 0;
};

struct TokenLogprob {
  int32_t id = 0;
  float logprob = 0;
};

// INVALID_ARGUMENT names the field of `sampling` that is out of range or not a number.
absl::Status ValidateSampling(const v1::Sampling& sampling, int vocab_size);

// Chooses the token after `context` from the `logits` [vocabulary] of its last position, in the
// order that proto/sampling.proto states. `suppressed` ids are never chosen, nor are those whose
// bit in `mask` is clear: id % 32 of word id / 32; an empty mask allows all. A pure function: ties
// go to the lower id, and the draw depends on (seed, sample index, position) alone. The draw walks
// the candidates from the likeliest down until their weights sum up to its share of the whole.
//
// It reads the row once, and a second time, then from a cache, where the sum over the whole
// vocabulary counts: at a temperature without top-k, unless min-p alone cuts. Nothing sorts more
// than a thousand candidates.
//
// INTERNAL: no id may be chosen: all are suppressed, masked, -infinity or not a number. Then a
// grammar or the model is wrong, not the request.
absl::StatusOr<int32_t> Sample(absl::Span<const float> logits, const v1::Sampling& sampling,
                               const SamplerContext& context, absl::Span<const int> suppressed,
                               absl::Span<const uint32_t> mask = {});

// How many of a row's likeliest ids suffice for Sample, if it comes without a mask and suppresses
// `suppressed_count` ids: given the same row with -infinity for all others, it chooses the same id.
// 0: it may look at all, as where penalties or bias move logits or the sum over the vocabulary
// counts; so does whoever wants log probabilities.
int LikeliestNeeded(const v1::Sampling& sampling, int suppressed_count, int vocab_size);

// The log probabilities of one row, natural, of the model's own distribution: without temperature,
// penalties, suppression or mask. The row is read when this is made; `logits` must outlive it.
// Without a finite maximum they are not numbers. No lock: one thread.
class Logprobs {
 public:
  explicit Logprobs(absl::Span<const float> logits);

  // log softmax(logits)[id].
  float Of(int32_t id) const;
  // The `count` largest, descending; ties by lower id. Those of -infinity are left out.
  std::vector<TokenLogprob> Top(int count) const;

 private:
  const absl::Span<const float> logits_;
  const LogitRow row_;
  const double log_sum_;  // of all exp(logit - maximum)
};

}  // namespace facet

#endif  // FACET_WORKER_SAMPLER_H_
