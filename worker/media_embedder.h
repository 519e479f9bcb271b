#ifndef FACET_WORKER_MEDIA_EMBEDDER_H_
#define FACET_WORKER_MEDIA_EMBEDDER_H_

#include <memory>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "kernels/device.h"
#include "model/metadata.h"
#include "model/model_file.h"
#include "worker/media_item.h"

namespace facet {

// The tokens that one image may have, by the metadata of a projector: a model that was trained on
// small pictures alone says so.
absl::StatusOr<int> ImageTokensMaxOf(const Metadata& metadata);

// Turns patches and frames into what the decoder takes in place of token embeddings. Gemma 4 12B
// has no encoder: two norms, a projection and a position for a patch, a norm and a projection for a
// frame (modeling_gemma4_unified.py: Gemma4UnifiedVisionEmbedder, Gemma4UnifiedMultimodalEmbedder).
// Each token for itself, so results do not depend on what else a step embeds. Used by one thread,
// the engine's.
class MediaEmbedder {
 public:
  // The tensors "v." and "mm." of `file`, for a decoder of `hidden_size`; null if it has none.
  // NOT_FOUND or INVALID_ARGUMENT names the tensor that is missing or of a wrong shape. `file` and
  // `device` must outlive it.
  static absl::StatusOr<std::unique_ptr<MediaEmbedder>> Make(const ModelFile& file, int hidden_size,
                                                             Device* device);
  virtual ~MediaEmbedder() = default;

  // Writes the embeddings of `tokens` into their rows of `hidden`, device [rows, hidden size].
  virtual void Embed(absl::Span<const MediaToken> tokens, float* hidden) = 0;

  // What it can embed; image_tokens_max is the model's own bound, not that of a step.
  virtual MediaLimits limits() const = 0;
};

}  // namespace facet

#endif  // FACET_WORKER_MEDIA_EMBEDDER_H_
