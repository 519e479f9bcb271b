#include "worker/adapter.h"

#include <algorithm>
#include <cstring>
#include <tuple>
#include <utility>

#include "base/status_macros.h"

namespace facet {
namespace {

// Where each matrix begins on the device.
constexpr int64_t kAlignmentBytes = 64;

int64_t AlignUp(int64_t bytes) {
  return (bytes + kAlignmentBytes - 1) / kAlignmentBytes * kAlignmentBytes;
}

// What one rank needs of a part: A's columns for the inputs that it has, B's rows for its outputs.
struct LocalPart {
  const AdapterPart* part;
  Slice inputs, outputs;
  std::string a;        // [rank, inputs]
  absl::string_view b;  // [outputs, rank]
};

// Inputs and outputs of `part` that this rank's piece of the matrix has.
std::pair<Slice, Slice> SlicesOf(const AdapterPart& part, const ShardPlan& shard) {
  const int head_dim = shard.whole.layers[part.layer].head_dim;
  const Slice queries = shard.query_heads.Times(head_dim);
  const Slice keys = shard.kv_heads[part.layer].Times(head_dim);
  const Slice all_inputs = {0, part.inputs}, all_outputs = {0, part.outputs};
  switch (part.matrix) {
    case AdapterMatrix::kQuery:
      return {all_inputs, queries};
    case AdapterMatrix::kKey:
    case AdapterMatrix::kValue:
      return {all_inputs, keys};
    case AdapterMatrix::kGate:
    case AdapterMatrix::kUp:
      return {all_inputs, shard.feed_forward};
    case AdapterMatrix::kOutput:
      return {queries, all_outputs};
    case AdapterMatrix::kDown:
      return {shard.feed_forward, all_outputs};
  }
  return {all_inputs, all_outputs};
}

std::vector<LocalPart> LocalParts(const AdapterFile& file, const ShardPlan& shard) {
  std::vector<LocalPart> parts;
  for (const AdapterPart& part : file.parts()) {
    LocalPart& local = parts.emplace_back();
    local.part = &part;
    std::tie(local.inputs, local.outputs) = SlicesOf(part, shard);
    const size_t a_element = part.a.size() / (part.rank * part.inputs);
    for (int row = 0; row < part.rank; ++row) {
      const absl::string_view columns = part.a.substr(
          (row * part.inputs + local.inputs.begin) * a_element, local.inputs.size() * a_element);
      local.a.append(columns.data(), columns.size());
    }
    const size_t b_row = part.b.size() / part.outputs;
    local.b = part.b.substr(local.outputs.begin * b_row, local.outputs.size() * b_row);
  }
  return parts;
}

int64_t BytesOf(const LocalPart& part) {
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
                                                             const ShardPlan& base,
                                                             int64_t bytes_max, Device& device) {
  ASSIGN_OR_RETURN(const std::unique_ptr<AdapterFile> file,
                   AdapterFile::Open(path, base.whole, bytes_max));
  auto adapter = std::make_unique<Adapter>();
  adapter->name = name;
  adapter->digest = file->digest();
  adapter->path = path;
  adapter->layers.resize(base.whole.layers.size());
  const std::vector<LocalPart> parts = LocalParts(*file, base);
  for (const LocalPart& part : parts) adapter->bytes += BytesOf(part);
  ASSIGN_OR_RETURN(adapter->buffer, device.Allocate(adapter->bytes));
  char* at = static_cast<char*>(adapter->buffer.get());
  const auto put = [&](TensorType type, int64_t rows, int64_t columns, absl::string_view data) {
    const Weight weight = {type, rows, columns, at};
    device.CopyToDevice(at, data.data(), static_cast<int64_t>(data.size()));
    at += AlignUp(static_cast<int64_t>(data.size()));
    return weight;
  };
  for (const LocalPart& local : parts) {
    const AdapterPart& part = *local.part;
    AdapterWeight& weight = adapter->layers[part.layer][static_cast<int>(part.matrix)];
    weight.a = put(part.a_type, part.rank, local.inputs.size(), local.a);
    weight.b = put(part.b_type, part.rank, local.outputs.size(),
                   Transposed(local.b, local.outputs.size(), part.rank));
    weight.scale = part.scale;
    adapter->rank_max = std::max(adapter->rank_max, part.rank);
  }
  return adapter;
}

}  // namespace facet
