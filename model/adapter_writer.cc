#include "model/adapter_writer.h"

#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "model/gguf_writer.h"
#include "model/metadata.h"

namespace facet {
namespace {

// Scales are quotients of small numbers; what is left of one times its divisor is their rounding.
constexpr float kRounding = 1e-6f;

GgufTensorSource Half(const AdapterPart& part, absl::string_view half, TensorType type,
                      std::vector<int64_t> shape, absl::string_view data) {
  return {absl::StrCat("blk.", part.layer, ".", GgufNameOf(part.matrix), half), type,
          std::move(shape), [data] { return std::string(data); }};
}

}  // namespace

absl::Status WriteAdapterGguf(const AdapterFile& adapter, absl::string_view name,
                              const std::string& path) {
  const AdapterPart& first = adapter.parts().front();
  const float alpha = first.scale * static_cast<float>(first.rank);
  if (alpha == 0) return absl::InvalidArgumentError("the adapter's lora_alpha is 0");
  std::vector<GgufTensorSource> tensors;
  for (const AdapterPart& part : adapter.parts()) {
    const float its_alpha = part.scale * static_cast<float>(part.rank);
    if (std::abs(its_alpha - alpha) > kRounding * std::abs(alpha)) {
      return absl::InvalidArgumentError(
          absl::StrCat("the adapter's alpha is ", its_alpha, " in layer ", part.layer, " and ",
                       alpha, " in layer ", first.layer, "; a GGUF file has one"));
    }
    tensors.push_back(Half(part, ".lora_a", part.a_type, {part.inputs, part.rank}, part.a));
    tensors.push_back(Half(part, ".lora_b", part.b_type, {part.rank, part.outputs}, part.b));
  }
  Metadata metadata;
  metadata.Set("general.architecture", std::string("gemma4"));
  metadata.Set("general.type", std::string("adapter"));
  metadata.Set("adapter.type", std::string("lora"));
  metadata.Set("adapter.lora.alpha", alpha);
  if (!name.empty()) metadata.Set("general.name", std::string(name));
  return WriteGgufFile(path, metadata, tensors, nullptr);
}

}  // namespace facet
