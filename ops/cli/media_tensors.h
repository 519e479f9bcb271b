#ifndef FACET_OPS_CLI_MEDIA_TENSORS_H_
#define FACET_OPS_CLI_MEDIA_TENSORS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "router/media/loaded_media.h"
#include "worker/loaded_model.h"

namespace facet {

// Values with a name and a shape, as `embed` writes them.
template <typename T>
struct NamedValues {
  std::string name;
  std::vector<int64_t> shape;  // slowest axis first
  std::vector<T> values;
};

// What a model makes of pictures, sounds and videos. Of the N-th of a kind, from 0:
// imageN.patches [tokens, 6912] from 0 to 1, imageN.positions [tokens, 2] (x, y), imageN.embeddings
// [tokens, hidden size]; soundN.frames [tokens, 640], soundN.embeddings; videoN.patches and
// videoN.embeddings with the frames as first axis, videoN.positions of each frame.
struct MediaTensors {
  std::vector<NamedValues<float>> floats;
  std::vector<NamedValues<int32_t>> positions;
};

// Embeds `media` on the model's device. FAILED_PRECONDITION if the model has no embedder.
absl::StatusOr<MediaTensors> BlockingEmbed(LoadedModel& model, const LoadedMedia& media);

}  // namespace facet

#endif  // FACET_OPS_CLI_MEDIA_TENSORS_H_
