#include "worker/adapter.h"

#include <algorithm>
#include <cstring>

#include "base/status_macros.h"

namespace facet {
namespace {

// Where each matrix begins on the device.
constexpr int64_t kAlignmentBytes = 64;

int64_t AlignUp(int64_t bytes) {
  return (bytes + kAlignmentBytes - 1) / kAlignmentBytes * kAlignmentBytes;
}

int64_t BytesOf(const AdapterPart& part) {
  return AlignUp(static_cast<int64_t>(part.a.size())) +
         AlignUp(static_cast<int64_t>(part.b.size()));
}

// [rows, columns] to [columns, rows].
std::string Transposed(absl::string_view matrix, int64_t rows, int64_t columns) {
  const size_t element = matrix.size() / (rows * columns);
  std::string turned(matrix.size(), '\0');
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t column = 0; column < columns; ++column) {
      std::memcpy(&turned[(column * rows + row) * element],
                  &matrix[(row * columns + column) * element], element);
    }
  }
  return turned;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Adapter>> BlockingLoadAdapter(const std::string& name,
                                                             const std::string& path,
                                                             const TextConfig& base,
                                                             int64_t bytes_max, Device& device) {
  ASSIGN_OR_RETURN(const std::unique_ptr<AdapterFile> file,
                   AdapterFile::Open(path, base, bytes_max));
  auto adapter = std::make_unique<Adapter>();
  adapter->name = name;
  adapter->digest = file->digest();
  adapter->layers.resize(base.layers.size());
  for (const AdapterPart& part : file->parts()) adapter->bytes += BytesOf(part);
  ASSIGN_OR_RETURN(adapter->buffer, device.Allocate(adapter->bytes));
  char* at = static_cast<char*>(adapter->buffer.get());
  const auto put = [&](TensorType type, int64_t rows, int64_t columns, absl::string_view data) {
    const Weight weight = {type, rows, columns, at};
    device.CopyToDevice(at, data.data(), static_cast<int64_t>(data.size()));
    at += AlignUp(static_cast<int64_t>(data.size()));
    return weight;
  };
  for (const AdapterPart& part : file->parts()) {
    AdapterWeight& weight = adapter->layers[part.layer][static_cast<int>(part.matrix)];
    weight.a = put(part.a_type, part.rank, part.inputs, part.a);
    weight.b =
        put(part.b_type, part.rank, part.outputs, Transposed(part.b, part.outputs, part.rank));
    weight.scale = part.scale;
    adapter->rank_max = std::max(adapter->rank_max, part.rank);
  }
  return adapter;
}

}  // namespace facet
