#include "ops/cli/media_tensors.h"

#include <map>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "worker/device_array.h"
#include "worker/media_embedder.h"

namespace facet {
namespace {

using Kind = MediaPart::Kind;

std::vector<MediaToken> TokensOf(const MediaItem& item) {
  std::vector<MediaToken> tokens;
  for (int32_t i = 0; i < item.tokens; ++i) tokens.push_back({i, &item, i});
  return tokens;
}

absl::StatusOr<std::vector<float>> Embed(LoadedModel& model,
                                         const std::vector<MediaToken>& tokens) {
  const int64_t size = static_cast<int64_t>(tokens.size()) * model.config().hidden_size;
  ASSIGN_OR_RETURN(const auto rows, DeviceArray<float>::Make(*model.device, size));
  model.embedder->Embed(tokens, rows.data());
  std::vector<float> values(size);
  model.device->CopyToHostBlocking(values.data(), rows.data(),
                                   size * static_cast<int64_t>(sizeof(float)));
  return values;
}

// The values of a token as the reference has them: of a patch row by row, the colours of a pixel
// side by side.
void AppendValues(const MediaToken& token, std::vector<float>& values) {
  const size_t begin = values.size();
  if (!token.item->image) {
    values.resize(begin + kFrameSamples);
    return WriteMediaValues(token, &values[begin]);
  }
  std::vector<float> planes(kPatchElements);
  WriteMediaValues(token, planes.data());
  constexpr int kPixels = kPatchElements / 3;
  for (int pixel = 0; pixel < kPixels; ++pixel) {
    for (int colour = 0; colour < 3; ++colour) {
      values.push_back(planes[colour * kPixels + pixel]);
    }
  }
}

absl::Status AddPart(LoadedModel& model, const DecodedMedia& part, const std::string& name,
                     MediaTensors& out) {
  const bool sound = part.kind == Kind::kAudio;
  std::vector<float> values, embeddings;
  for (const MediaTensor& tensor : part.tensors) {
    MediaItem item = MediaItemOf(tensor.head);
    item.data = tensor.data;
    const std::vector<MediaToken> tokens = TokensOf(item);
    for (const MediaToken& token : tokens) AppendValues(token, values);
    ASSIGN_OR_RETURN(const std::vector<float> embedded, Embed(model, tokens));
    embeddings.insert(embeddings.end(), embedded.begin(), embedded.end());
  }
  const v1::Media& head = part.tensors[0].head;
  std::vector<int64_t> shape = {head.tokens()};
  if (part.kind == Kind::kVideo) {
    shape.insert(shape.begin(), static_cast<int64_t>(part.tensors.size()));
  }
  const auto with_columns = [&](int64_t columns) {
    std::vector<int64_t> full = shape;
    full.push_back(columns);
    return full;
  };
  out.floats.push_back({name + (sound ? ".frames" : ".patches"),
                        with_columns(sound ? kFrameSamples : kPatchElements), std::move(values)});
  out.floats.push_back(
      {name + ".embeddings", with_columns(model.config().hidden_size), std::move(embeddings)});
  if (sound) return absl::OkStatus();
  NamedValues<int32_t>& positions = out.positions.emplace_back();
  positions.name = name + ".positions";
  positions.shape = {head.tokens(), 2};
  for (uint32_t i = 0; i < head.tokens(); ++i) {
    positions.values.push_back(static_cast<int32_t>(i % head.grid_width()));
    positions.values.push_back(static_cast<int32_t>(i / head.grid_width()));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<MediaTensors> BlockingEmbed(LoadedModel& model, const LoadedMedia& media) {
  if (model.embedder == nullptr) {
    return absl::FailedPreconditionError(
        "this model takes text only; --mmproj names a file with its embedders");
  }
  MediaTensors tensors;
  std::map<std::string, int> counts;
  for (const DecodedMedia& part : media.parts) {
    const std::string kind = part.kind == Kind::kAudio ? "sound" : NameOf(part.kind);
    RETURN_IF_ERROR(AddPart(model, part, absl::StrCat(kind, counts[kind]++), tensors));
  }
  return tensors;
}

}  // namespace facet
