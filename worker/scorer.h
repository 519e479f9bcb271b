#ifndef FACET_WORKER_SCORER_H_
#define FACET_WORKER_SCORER_H_

#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "worker/adapter.h"
#include "worker/kv_cache.h"
#include "worker/media_item.h"
#include "worker/model_runner.h"
#include "worker/sampler.h"

namespace facet {

struct Score {
  // logprobs[i]: natural log probability of token i given those before it; logprobs[0] is 0 and
  // means nothing.
  std::vector<float> logprobs;
  // top[i]: the best continuations after token i.
  std::vector<std::vector<TokenLogprob>> top;
};

// Runs `tokens`, of which `media` stand in place of some, through the model, changed by `adapter`
// if that is not null, and says how likely each was. Nothing is generated or suppressed. Uses
// `runner` and `cache` alone for its time: no engine may run on them. INVALID_ARGUMENT for an empty
// or too long list or an id outside [0, vocab_size).
absl::StatusOr<Score> BlockingScore(ModelRunner& runner, KvCache& cache, int vocab_size,
                                    absl::Span<const int32_t> tokens, int top_count,
                                    absl::Span<const MediaItem> media = {},
                                    const Adapter* adapter = nullptr);

}  // namespace facet

#endif  // FACET_WORKER_SCORER_H_
