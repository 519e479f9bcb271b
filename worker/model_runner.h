#ifndef FACET_WORKER_MODEL_RUNNER_H_
#define FACET_WORKER_MODEL_RUNNER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "kernels/device.h"
#include "worker/batch.h"
#include "worker/device_group.h"
#include "worker/kv_cache.h"
#include "worker/media_embedder.h"
#include "worker/weights.h"

namespace facet {

struct ModelRunnerOptions {
  int rows_max = 512;        // rows of one step
  int output_rows_max = 64;  // rows of one step whose logits are wanted
  // The places of pictures and sounds, <|image|> and its like. One that comes without either, as
  // when a model writes it, reads as `pad_id`.
  std::vector<int32_t> placeholder_ids;
  int32_t pad_id = 0;
};

// Runs the model over one batch at a time: embeddings, decoder layers, head. Owns the activations;
// what it is made from must outlive it. Used by one thread, the engine's. In a tensor-parallel
// group all ranks run the same batch at once, each its part of it.
class ModelRunner {
 public:
  // Without an `embedder` batches hold no media, but on followers.
  static absl::StatusOr<std::unique_ptr<ModelRunner>> Make(const Weights* weights, KvCache* cache,
                                                           Device* device, DeviceGroup* group,
                                                           MediaEmbedder* embedder,
                                                           const ModelRunnerOptions& options);
  virtual ~ModelRunner() = default;

  // Computes the batch, writes its keys and values, and gives back the logits of its output rows:
  // host, [output rows, vocabulary], after the soft-cap, nothing suppressed; in a group, nothing
  // but on rank 0, and of the rows that batch.best_counts says, these and -infinity. Valid until
  // the next call. REQUIRES: 1 to rows_max rows, at most output_rows_max outputs, ids in the
  // vocabulary, pages for all positions.
  virtual absl::Span<const float> RunBlocking(const Batch& batch) = 0;

  // What the logits were made from: the states of the last call's output rows after the final norm.
  // Device, [output rows, hidden size]; valid until the next call. The drafter starts from them.
  virtual const float* output_states() const = 0;

  virtual const ModelRunnerOptions& options() const = 0;
};

}  // namespace facet

#endif  // FACET_WORKER_MODEL_RUNNER_H_
