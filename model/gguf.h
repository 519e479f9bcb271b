#ifndef FACET_MODEL_GGUF_H_
#define FACET_MODEL_GGUF_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/tensor_type.h"
#include "model/metadata.h"

namespace facet {

// Where one tensor's bytes stand in a GGUF file.
struct GgufTensorInfo {
  std::string name;
  TensorType type;
  std::vector<int64_t> shape;  // fastest axis first, as GGUF writes it
  uint64_t offset;             // from the start of the file
  uint64_t size_bytes;
};

struct GgufHeader {
  Metadata metadata;
  std::vector<GgufTensorInfo> tensors;
};

// Reads the header of a GGUF file of version 3 (or 2, which is the same). `file` is the whole file.
// INVALID_ARGUMENT names the field and the byte where a file is truncated, lies about a length, or
// holds what we do not know. Allocates no more than a small multiple of `file`. Every returned
// tensor lies within `file`. Format: llama.cpp, docs/gguf.md.
absl::StatusOr<GgufHeader> ParseGguf(absl::string_view file);

}  // namespace facet

#endif  // FACET_MODEL_GGUF_H_
