// A GGUF file: every tensor lies within it and has the size of its shape, and what was read can be
// written and read again.

#include "model/gguf.h"

#include <set>
#include <string>

#include "base/check.h"
#include "model/config.h"
#include "model/gguf_writer.h"
#include "model/vocabulary.h"
#include "tests/fuzz/fuzz_target.h"

namespace facet {

void CheckTensors(const GgufHeader& header, size_t file_size) {
  std::set<std::string> names;
  for (const GgufTensorInfo& tensor : header.tensors) {
    CHECK(names.insert(tensor.name).second) << tensor.name;
    CHECK_LE(tensor.size_bytes, file_size);
    CHECK_LE(tensor.offset, file_size - tensor.size_bytes);
    CHECK(!tensor.shape.empty());
    uint64_t rows = 1;
    for (size_t axis = 1; axis < tensor.shape.size(); ++axis) rows *= tensor.shape[axis];
    CHECK_EQ(tensor.size_bytes, RowBytes(tensor.type, tensor.shape[0]) * rows);
  }
}

}  // namespace facet

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto header = facet::ParseGguf(facet::AsText(data, size));
  if (!header.ok()) {
    CHECK(!header.status().message().empty());
    return 0;
  }
  facet::CheckTensors(*header, size);
  const std::string written = facet::WriteGgufMetadata(header->metadata);
  const auto again = facet::ParseGguf(written);
  CHECK_OK(again);
  // Bytes, because NaN does not equal itself.
  CHECK(facet::WriteGgufMetadata(again->metadata) == written);
  // The next readers of the same metadata; an error is as good as a result.
  const auto config = facet::ReadTextConfig(header->metadata);
  if (config.ok()) CHECK(!config->layers.empty());
  const auto vocabulary = facet::Vocabulary::FromMetadata(header->metadata);
  if (vocabulary.ok()) CHECK_GE((*vocabulary)->size(), 256);
  return 0;
}
