// A safetensors file: its tensors lie within it and cover its data once.

#include "model/safetensors.h"

#include "base/check.h"
#include "tests/fuzz/fuzz_target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view file = facet::AsText(data, size);
  const auto tensors = facet::ParseSafetensors(file);
  if (!tensors.ok()) {
    CHECK(!tensors.status().message().empty());
    return 0;
  }
  size_t covered = 0;
  for (const facet::SafetensorsTensor& tensor : *tensors) {
    CHECK(facet::LiesWithin(tensor.data, file)) << tensor.name;
    for (const int64_t axis : tensor.shape) CHECK_GE(axis, 0);
    covered += tensor.data.size();
  }
  CHECK_LE(covered, size - 8);
  return 0;
}
