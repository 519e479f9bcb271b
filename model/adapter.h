#ifndef FACET_MODEL_ADAPTER_H_
#define FACET_MODEL_ADAPTER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/tensor_type.h"
#include "model/config.h"

namespace facet {

// The matrices of a decoder layer that an adapter may change.
enum class AdapterMatrix { kQuery, kKey, kValue, kOutput, kGate, kUp, kDown };
inline constexpr int kAdapterMatrices = 7;

// What PEFT calls it within a layer: "self_attn.q_proj".
absl::string_view PeftNameOf(AdapterMatrix matrix);
// What GGUF files call it within a layer: "attn_q.weight".
absl::string_view GgufNameOf(AdapterMatrix matrix);

// Columns and rows of the model's own matrix; nothing where a layer has no such matrix, as full
// ones have none for values.
struct AdapterShape {
  int64_t inputs;
  int64_t outputs;
};
std::optional<AdapterShape> ShapeOf(const TextConfig& base, int layer, AdapterMatrix matrix);

// The change of one matrix W: y = W x + scale * B (A x). On full layers keys and values come from
// one projection, so a change of the key there changes both.
struct AdapterPart {
  int layer;
  AdapterMatrix matrix;
  int rank;
  int64_t inputs;
  int64_t outputs;
  float scale;
  TensorType a_type;  // F32, F16 or BF16; so is b_type
  TensorType b_type;
  absl::string_view a;  // host, [rank, inputs], any alignment
  absl::string_view b;  // host, [outputs, rank], any alignment
};

// A LoRA adapter as it lies on disk, in one form whatever the source. Holds the file's bytes, which
// were read once: later changes of the file do not reach it. Immutable, thread-safe.
class AdapterFile {
 public:
  // `path` is a folder with PEFT's adapter_config.json and adapter_model.safetensors, or a GGUF
  // adapter. INVALID_ARGUMENT names file and field where it lies, is not an adapter, holds a number
  // that is not finite, or does not fit `base`; RESOURCE_EXHAUSTED: it has more than `bytes_max`.
  static absl::StatusOr<std::unique_ptr<AdapterFile>> Open(const std::string& path,
                                                           const TextConfig& base,
                                                           int64_t bytes_max);

  // Ascending by layer and matrix, at least one.
  const std::vector<AdapterPart>& parts() const { return parts_; }
  // SHA-256 over the parts, 32 bytes: adapters with equal digests give equal results.
  const std::string& digest() const { return digest_; }

 private:
  AdapterFile() = default;

  std::string bytes_;  // Of the tensors' file; the parts point into it.
  std::vector<AdapterPart> parts_;
  std::string digest_;
};

}  // namespace facet

#endif  // FACET_MODEL_ADAPTER_H_
