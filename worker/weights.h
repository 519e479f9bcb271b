#ifndef FACET_WORKER_WEIGHTS_H_
#define FACET_WORKER_WEIGHTS_H_

#include <vector>

#include "absl/status/statusor.h"
#include "kernels/device.h"
#include "model/config.h"
#include "model/model_file.h"
#include "worker/shard_plan.h"

namespace facet {

// One decoder layer's weights on the device. H is the hidden size, D the layer's head dimension;
// heads and feed forward are those of this rank (shard_plan.h).
struct LayerWeights {
  const float* attention_norm;          // device, [H]
  const float* post_attention_norm;     // device, [H]
  const float* feed_forward_norm;       // device, [H]
  const float* post_feed_forward_norm;  // device, [H]
  const float* query_norm;              // device, [D]
  const float* key_norm;                // device, [D]; null in a drafter
  Weight query;                         // [query heads * D, H]
  Weight key;                           // [KV heads * D, H]; no data in a drafter
  Weight value;                         // [KV heads * D, H]; no data on full layers: the key serves
  Weight output;                        // [H, query heads * D]
  Weight gate, up;                      // [feed forward, H]
  Weight down;                          // [H, feed forward]
  float scale;                          // multiplies the residual stream at the layer's end
};

// A text decoder's weights on a device. Owns the small vectors; matrices may lie in the ModelFile's
// mapping, so `file` and `device` must outlive this. Immutable.
struct Weights {
  ShardPlan shard;
  TextConfig config;                 // shard.local
  Weight embedding;                  // [vocabulary, H]
  Weight head;                       // its rows that are this rank's; a drafter's: all of them
  const float* output_norm;          // device, [H]
  std::vector<float> rope_divisors;  // host, [D of full layers / 2]: the angle is divided by it
  std::vector<LayerWeights> layers;
  std::vector<DeviceBuffer> buffers;
};

// Pairs of dimensions that full layers turn by position. A pair whose divisor is huge does not
// turn, and past the last that does, none need be looked at.
int FullRopePairs(const Weights& weights);

// This rank's part of a model; only that is read. NOT_FOUND or INVALID_ARGUMENT names the tensor
// that is missing or of another shape than the metadata says, or why the model cannot be split so.
absl::StatusOr<Weights> LoadWeights(const ModelFile& file, Device& device, int rank = 0,
                                    int size = 1);

// A drafter's weights: layers that read the target's keys and values, and the two projections
// between the target's hidden size T and its own. Otherwise as Weights.
struct AssistantWeights {
  Weights decoder;
  Weight pre_projection;   // [H, 2 T]: of the token's embedding by the target, then the state
  Weight post_projection;  // [T, H]
};

// As LoadWeights, split as `target` is; also INVALID_ARGUMENT if the drafter does not fit it.
absl::StatusOr<AssistantWeights> LoadAssistantWeights(const ModelFile& file,
                                                      const ShardPlan& target, Device& device);

}  // namespace facet

#endif  // FACET_WORKER_WEIGHTS_H_
