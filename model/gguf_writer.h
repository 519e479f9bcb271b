#ifndef FACET_MODEL_GGUF_WRITER_H_
#define FACET_MODEL_GGUF_WRITER_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/tensor_type.h"
#include "model/metadata.h"

namespace facet {

// The metadata as a GGUF file (version 3) without tensors: what a worker sends to routers.
std::string WriteGgufMetadata(const Metadata& metadata);

// One tensor to write. `bytes` is asked for once, in file order, so that only one tensor need be in
// memory; its size must be that of `shape` and `type`.
struct GgufTensorSource {
  std::string name;
  TensorType type;
  std::vector<int64_t> shape;  // fastest axis first
  std::function<absl::StatusOr<std::string>()> bytes;
};

// How many bytes WriteGgufFile writes.
uint64_t GgufBytes(const Metadata& metadata, const std::vector<GgufTensorSource>& tensors);

// Writes a GGUF file: first aside ("PATH.partial"), renamed when whole and synced, so that an
// interruption leaves no half file under `path`. `progress`, if set, hears the bytes written so
// far.
absl::Status WriteGgufFile(const std::string& path, const Metadata& metadata,
                           const std::vector<GgufTensorSource>& tensors,
                           const std::function<void(uint64_t done, uint64_t total)>& progress);

}  // namespace facet

#endif  // FACET_MODEL_GGUF_WRITER_H_
