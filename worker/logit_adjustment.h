#ifndef FACET_WORKER_LOGIT_ADJUSTMENT_H_
#define FACET_WORKER_LOGIT_ADJUSTMENT_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "proto/sampling.pb.h"
#include "worker/logit_row.h"

namespace facet {

// What bias, penalties and suppression, in this order, make of the `logits` they touch: by
// ascending id, each once. `tokens` are the prompt's `prompt_count`, then what was generated. Time
// grows with what is touched and with one bit for each id, not with the logits. REQUIRES: all ids
// are below logits.size().
std::vector<LogitOverride> AdjustLogits(absl::Span<const float> logits,
                                        const v1::Sampling& sampling,
                                        absl::Span<const int32_t> tokens, int prompt_count,
                                        absl::Span<const int> suppressed);

}  // namespace facet

#endif  // FACET_WORKER_LOGIT_ADJUSTMENT_H_
