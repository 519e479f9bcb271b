#ifndef FACET_WORKER_SAMPLER_H_
#define FACET_WORKER_SAMPLER_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "proto/sampling.pb.h"

namespace facet {

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
// order that proto/sampling.proto states. `suppressed` ids are never chosen. A pure function: ties
// go to the lower id, and the draw depends on (seed, sample index, position) alone.
int32_t Sample(absl::Span<const float> logits, const v1::Sampling& sampling,
               const SamplerContext& context, absl::Span<const int> suppressed);

// log softmax(logits)[id], natural.
float Logprob(absl::Span<const float> logits, int32_t id);
// The `count` largest log probabilities, descending; ties by lower id.
std::vector<TokenLogprob> TopLogprobs(absl::Span<const float> logits, int count);

}  // namespace facet

#endif  // FACET_WORKER_SAMPLER_H_
