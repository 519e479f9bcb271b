#include "worker/media_embedder.h"

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "worker/device_array.h"
#include "worker/tensor_loader.h"

namespace facet {
namespace {

// Tokens embedded at once: it bounds the memory for patches.
constexpr int kTileTokens = 128;
// torch.nn.LayerNorm's own, which the reference does not change.
constexpr float kLayerNormEpsilon = 1e-5f;
constexpr float kRmsEpsilon = 1e-6f;
constexpr char kImagePixelsMaxKey[] = "clip.vision.image_max_pixels";

struct VisionWeights {
  const float *norm1_weight, *norm1_bias;  // device, [6912]
  Weight patch;                            // [D, 6912], of patches colour by colour
  const float* patch_bias;                 // device, [D]
  const float *norm2_weight, *norm2_bias;  // device, [D]
  Weight positions;                        // [2 places, D]: those of x, then those of y
  const float *norm3_weight, *norm3_bias;  // device, [D]
  Weight projection;                       // [H, D]
};

class ProjectorEmbedder final : public MediaEmbedder {
 public:
  ProjectorEmbedder(int hidden_size, Device* device)
      : hidden_size_(hidden_size), device_(*device) {}

  absl::Status Load(const ModelFile& file);
  void Embed(absl::Span<const MediaToken> tokens, float* hidden) override;
  MediaLimits limits() const override {
    return {.images = has_vision_,
            .sounds = has_audio_,
            .grid_side_max = places_,
            .image_tokens_max = image_tokens_max_};
  }

 private:
  absl::Status LoadVision(TensorLoader& loader, const ModelFile& file);
  absl::Status Allocate();
  void EmbedImages(absl::Span<const MediaToken> tokens, float* hidden);
  void EmbedSounds(absl::Span<const MediaToken> tokens, float* hidden);
  // Uploads the values of tokens, `columns` each, and their rows of the batch.
  void UploadTokens(absl::Span<const MediaToken> tokens, int columns);

  const int hidden_size_;
  Device& device_;
  bool has_vision_ = false, has_audio_ = false;
  int places_ = 0;  // of a grid, along each side
  int image_tokens_max_ = kImageTokensMax;
  VisionWeights vision_ = {};
  Weight audio_;  // [H, 640]
  std::vector<DeviceBuffer> vectors_;
  DeviceArray<float> values_;              // [kTileTokens, 6912]
  DeviceArray<float> embedded_;            // [kTileTokens, D]
  DeviceArray<float> position_;            // [kTileTokens, D]
  DeviceArray<float> out_;                 // [kTileTokens, H]
  DeviceArray<int32_t> rows_;              // [kTileTokens]
  DeviceArray<int32_t> places_of_tokens_;  // [kTileTokens]
};

absl::Status ProjectorEmbedder::LoadVision(TensorLoader& loader, const ModelFile& file) {
  // The one size that follows from nothing else.
  ASSIGN_OR_RETURN(const int64_t size, loader.VectorSize("v.patch_embd.bias"));
  if (size % 16 != 0) {
    return absl::InvalidArgumentError(absl::StrCat(file.path(), ": tensor 'v.patch_embd.bias' has ",
                                                   size, " elements, no multiple of 16"));
  }
  ASSIGN_OR_RETURN(vision_.norm1_weight, loader.Vector("v.patch_norm.1.weight", kPatchElements));
  ASSIGN_OR_RETURN(vision_.norm1_bias, loader.Vector("v.patch_norm.1.bias", kPatchElements));
  ASSIGN_OR_RETURN(vision_.patch, loader.Matrix("v.patch_embd.weight", size, kPatchElements));
  ASSIGN_OR_RETURN(vision_.patch_bias, loader.Vector("v.patch_embd.bias", size));
  ASSIGN_OR_RETURN(vision_.norm2_weight, loader.Vector("v.patch_norm.2.weight", size));
  ASSIGN_OR_RETURN(vision_.norm2_bias, loader.Vector("v.patch_norm.2.bias", size));
  ASSIGN_OR_RETURN(vision_.norm3_weight, loader.Vector("v.patch_norm.3.weight", size));
  ASSIGN_OR_RETURN(vision_.norm3_bias, loader.Vector("v.patch_norm.3.bias", size));
  ASSIGN_OR_RETURN(vision_.projection,
                   loader.Matrix("mm.input_projection.weight", hidden_size_, size));
  ASSIGN_OR_RETURN(vision_.positions, loader.StackedMatrix("v.position_embd.weight", 2, size));
  places_ = static_cast<int>(vision_.positions.rows / 2);
  ASSIGN_OR_RETURN(image_tokens_max_, ImageTokensMaxOf(file.metadata()));
  has_vision_ = true;
  return absl::OkStatus();
}

absl::Status ProjectorEmbedder::Load(const ModelFile& file) {
  TensorLoader loader(file, device_, vectors_);
  if (file.Find("v.patch_embd.weight") != nullptr) RETURN_IF_ERROR(LoadVision(loader, file));
  if (file.Find("mm.a.input_projection.weight") != nullptr) {
    ASSIGN_OR_RETURN(audio_,
                     loader.Matrix("mm.a.input_projection.weight", hidden_size_, kFrameSamples));
    has_audio_ = true;
  }
  return Allocate();
}

absl::Status ProjectorEmbedder::Allocate() {
  const int64_t size = has_vision_ ? vision_.patch.rows : 1;
  ASSIGN_OR_RETURN(values_, DeviceArray<float>::Make(device_, kTileTokens * kPatchElements));
  ASSIGN_OR_RETURN(embedded_, DeviceArray<float>::Make(device_, kTileTokens * size));
  ASSIGN_OR_RETURN(position_, DeviceArray<float>::Make(device_, kTileTokens * size));
  ASSIGN_OR_RETURN(out_, DeviceArray<float>::Make(device_, int64_t{kTileTokens} * hidden_size_));
  ASSIGN_OR_RETURN(rows_, DeviceArray<int32_t>::Make(device_, kTileTokens));
  ASSIGN_OR_RETURN(places_of_tokens_, DeviceArray<int32_t>::Make(device_, kTileTokens));
  return absl::OkStatus();
}

void ProjectorEmbedder::UploadTokens(absl::Span<const MediaToken> tokens, int columns) {
  std::vector<float> values(tokens.size() * columns);
  std::vector<int32_t> rows;
  for (size_t i = 0; i < tokens.size(); ++i) {
    WriteMediaValues(tokens[i], values.data() + i * columns);
    rows.push_back(tokens[i].row);
  }
  values_.Upload(values);
  rows_.Upload(rows);
}

void ProjectorEmbedder::EmbedImages(absl::Span<const MediaToken> tokens, float* hidden) {
  UploadTokens(tokens, kPatchElements);
  const int count = static_cast<int>(tokens.size());
  const int size = static_cast<int>(vision_.patch.rows);
  device_.LayerNorm(values_.data(), vision_.norm1_weight, vision_.norm1_bias, count, kPatchElements,
                    kLayerNormEpsilon, values_.data());
  device_.MatMul(values_.data(), vision_.patch, count, embedded_.data());
  device_.AddRows(embedded_.data(), vision_.patch_bias, 0, count, size);
  device_.LayerNorm(embedded_.data(), vision_.norm2_weight, vision_.norm2_bias, count, size,
                    kLayerNormEpsilon, embedded_.data());
  for (const int axis : {0, 1}) {
    std::vector<int32_t> places;
    for (const MediaToken& token : tokens) {
      const int width = token.item->grid_width;
      places.push_back(axis == 0 ? token.index % width : places_ + token.index / width);
    }
    places_of_tokens_.Upload(places);
    device_.EmbedTokens(vision_.positions, places_of_tokens_.data(), count, 1.0f, position_.data());
    device_.AddRows(embedded_.data(), position_.data(), size, count, size);
  }
  device_.LayerNorm(embedded_.data(), vision_.norm3_weight, vision_.norm3_bias, count, size,
                    kLayerNormEpsilon, embedded_.data());
  device_.RmsNorm(embedded_.data(), nullptr, count, size, kRmsEpsilon, embedded_.data());
  device_.MatMul(embedded_.data(), vision_.projection, count, out_.data());
  device_.ScatterRows(out_.data(), rows_.data(), count, hidden_size_, hidden);
}

void ProjectorEmbedder::EmbedSounds(absl::Span<const MediaToken> tokens, float* hidden) {
  UploadTokens(tokens, kFrameSamples);
  const int count = static_cast<int>(tokens.size());
  device_.RmsNorm(values_.data(), nullptr, count, kFrameSamples, kRmsEpsilon, values_.data());
  device_.MatMul(values_.data(), audio_, count, out_.data());
  device_.ScatterRows(out_.data(), rows_.data(), count, hidden_size_, hidden);
}

void ProjectorEmbedder::Embed(absl::Span<const MediaToken> tokens, float* hidden) {
  while (!tokens.empty()) {
    // A tile is of one kind.
    const bool image = tokens[0].item->image;
    size_t count = 0;
    while (count < tokens.size() && count < kTileTokens && tokens[count].item->image == image) {
      ++count;
    }
    const absl::Span<const MediaToken> tile = tokens.subspan(0, count);
    if (image) {
      EmbedImages(tile, hidden);
    } else {
      EmbedSounds(tile, hidden);
    }
    tokens.remove_prefix(count);
  }
}

}  // namespace

absl::StatusOr<int> ImageTokensMaxOf(const Metadata& metadata) {
  if (!metadata.Has(kImagePixelsMaxKey)) return kImageTokensMax;
  ASSIGN_OR_RETURN(const int64_t pixels, metadata.GetInt(kImagePixelsMaxKey));
  const int64_t tokens = pixels / (kPatchElements / 3);
  return static_cast<int>(std::clamp<int64_t>(tokens, 0, kImageTokensMax));
}

absl::StatusOr<std::unique_ptr<MediaEmbedder>> MediaEmbedder::Make(const ModelFile& file,
                                                                   int hidden_size,
                                                                   Device* device) {
  if (file.Find("v.patch_embd.weight") == nullptr &&
      file.Find("mm.a.input_projection.weight") == nullptr) {
    return nullptr;
  }
  auto embedder = std::make_unique<ProjectorEmbedder>(hidden_size, device);
  RETURN_IF_ERROR(embedder->Load(file));
  return std::unique_ptr<MediaEmbedder>(std::move(embedder));
}

}  // namespace facet
