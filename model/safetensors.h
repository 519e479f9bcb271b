#ifndef FACET_MODEL_SAFETENSORS_H_
#define FACET_MODEL_SAFETENSORS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace facet {

// One tensor of a safetensors file. `dtype` is the file's own word ("F32", "BF16", "I32", ...).
struct SafetensorsTensor {
  std::string name;
  std::string dtype;
  std::vector<int64_t> shape;  // slowest axis first, as the file writes it; empty for a scalar
  absl::string_view data;      // host, within the file
};

// Reads the header of a safetensors file, of which `file` is the whole. INVALID_ARGUMENT names the
// field where it is truncated or lies; every returned tensor lies within `file`, has the size that
// its dtype and shape ask for, and together they cover the data once. The views live as long as
// `file`.
// Format: the README of huggingface/safetensors.
absl::StatusOr<std::vector<SafetensorsTensor>> ParseSafetensors(absl::string_view file);

// The file names in a `model.safetensors.index.json`, each once, without folders in them.
absl::StatusOr<std::vector<std::string>> ParseSafetensorsIndex(absl::string_view json);

}  // namespace facet

#endif  // FACET_MODEL_SAFETENSORS_H_
