#include "model/huggingface_media.h"

#include <cstdint>
#include <cstring>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"

namespace facet {
namespace {

constexpr int64_t kPatchSide = 48;
constexpr int64_t kPatchPixels = kPatchSide * kPatchSide;
constexpr int64_t kColours = 3;
constexpr int64_t kPatchElements = kPatchPixels * kColours;

enum class Order {
  kAsIs,
  kColourByColour,  // the fastest axis is a patch
  kAxesSwapped,     // [places, axes, size] to [axes, places, size]
};

struct MediaName {
  absl::string_view huggingface;
  absl::string_view gguf;
  Order order;
};

constexpr MediaName kVision[] = {
    {"patch_dense.weight", "v.patch_embd.weight", Order::kColourByColour},
    {"patch_dense.bias", "v.patch_embd.bias", Order::kAsIs},
    {"patch_ln1.weight", "v.patch_norm.1.weight", Order::kColourByColour},
    {"patch_ln1.bias", "v.patch_norm.1.bias", Order::kColourByColour},
    {"patch_ln2.weight", "v.patch_norm.2.weight", Order::kAsIs},
    {"patch_ln2.bias", "v.patch_norm.2.bias", Order::kAsIs},
    {"pos_norm.weight", "v.patch_norm.3.weight", Order::kAsIs},
    {"pos_norm.bias", "v.patch_norm.3.bias", Order::kAsIs},
    {"pos_embedding", "v.position_embd.weight", Order::kAxesSwapped},
    {"embedding_projection.weight", "mm.input_projection.weight", Order::kAsIs},
    {"multimodal_embedder.embedding_projection.weight", "mm.input_projection.weight", Order::kAsIs},
};
constexpr MediaName kAudio[] = {
    {"embedding_projection.weight", "mm.a.input_projection.weight", Order::kAsIs},
};

// Element i of the copy is element from(i) of the tensor.
template <typename From>
absl::string_view Reorder(absl::string_view data, int64_t elements, const From& from,
                          ModelFile& file) {
  const size_t size = data.size() / elements;
  std::string bytes(data.size(), '\0');
  for (int64_t i = 0; i < elements; ++i) {
    std::memcpy(&bytes[i * size], data.data() + from(i) * size, size);
  }
  return file.Own(std::move(bytes));
}

const MediaName* FindName(absl::string_view name) {
  absl::string_view rest = name;
  if (absl::ConsumePrefix(&rest, "model.embed_audio.")) {
    for (const MediaName& known : kAudio) {
      if (rest == known.huggingface) return &known;
    }
    return nullptr;
  }
  if (!absl::ConsumePrefix(&rest, "model.vision_embedder.")) {
    absl::ConsumePrefix(&rest, "model.embed_vision.");
  }
  for (const MediaName& known : kVision) {
    if (rest == known.huggingface) return &known;
  }
  return nullptr;
}

}  // namespace

bool IsHuggingFaceMediaTensor(absl::string_view name) {
  return absl::StartsWith(name, "model.vision_embedder.") ||
         absl::StartsWith(name, "model.embed_vision.") ||
         absl::StartsWith(name, "model.embed_audio.");
}

absl::Status AddHuggingFaceMediaTensor(const SafetensorsTensor& tensor, const std::string& path,
                                       ModelFile& file) {
  const auto refuse = [&](absl::string_view what) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": tensor '", tensor.name, "' ", what));
  };
  const MediaName* name = FindName(tensor.name);
  if (name == nullptr) return refuse("is not known");
  const absl::StatusOr<TensorType> type = TensorTypeFromName(tensor.dtype);
  if (!type.ok() || tensor.shape.empty() || tensor.data.empty()) {
    return refuse(absl::StrCat("of dtype ", tensor.dtype, " is no weight that we read"));
  }
  std::vector<int64_t> shape(tensor.shape.rbegin(), tensor.shape.rend());
  int64_t elements = 1;
  for (const int64_t size : shape) elements *= size;
  absl::string_view data = tensor.data;
  if (name->order == Order::kColourByColour) {
    if (shape[0] != kPatchElements) return refuse("has rows that are no patches of 48 x 48 x 3");
    data = Reorder(
        data, elements,
        [](int64_t i) {
          const int64_t within = i % kPatchElements;
          return i - within + within % kPatchPixels * kColours + within / kPatchPixels;
        },
        file);
  } else if (name->order == Order::kAxesSwapped) {
    if (shape.size() != 3) return refuse("has not three dimensions");
    const int64_t size = shape[0], axes = shape[1], places = shape[2];
    data = Reorder(
        data, elements,
        [&](int64_t i) {
          const int64_t axis = i / size / places, place = i / size % places;
          return (place * axes + axis) * size + i % size;
        },
        file);
    shape = {size, places, axes};
  }
  return file.AddTensor({std::string(name->gguf), *type, shape, data});
}

}  // namespace facet
