#ifndef FACET_BASE_TENSOR_TYPE_H_
#define FACET_BASE_TENSOR_TYPE_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace facet {

// How the elements of a stored tensor are coded. The values are ggml's type ids, so a GGUF file
// holds them as they are. model/ reads tensors by these, kernels/ decodes them.
enum class TensorType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ2_K = 10,
  kQ3_K = 11,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kIQ4_NL = 20,
  kIQ4_XS = 23,
  kBF16 = 30,
};

// A row is a sequence of blocks: `block_elements` values stored in `block_bytes` bytes.
struct TensorTypeInfo {
  TensorType type;
  absl::string_view name;  // "Q4_K"
  int block_elements;
  int block_bytes;
};

// INVALID_ARGUMENT for an id that is none of the above.
absl::StatusOr<TensorType> TensorTypeFromId(uint32_t id);
// By name, in either case ("Q4_K", "q4_k"). INVALID_ARGUMENT lists the names there are.
absl::StatusOr<TensorType> TensorTypeFromName(absl::string_view name);
const TensorTypeInfo& InfoOf(TensorType type);

// Bytes of a row of `elements` values. REQUIRES: elements is a multiple of the block.
int64_t RowBytes(TensorType type, int64_t elements);

}  // namespace facet

#endif  // FACET_BASE_TENSOR_TYPE_H_
