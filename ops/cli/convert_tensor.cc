#include "ops/cli/convert_tensor.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "kernels/dequantize.h"
#include "kernels/quantize.h"

namespace facet {
namespace {

// Values that one thread converts at a time: 4 MiB as F32.
constexpr int64_t kPieceElements = 1 << 20;

}  // namespace

absl::StatusOr<std::string> ConvertTensor(const Tensor& tensor, TensorType type, int threads) {
  if (tensor.type == type) return std::string(tensor.data);
  const int64_t columns = tensor.shape[0];
  int64_t rows = 1;
  for (size_t axis = 1; axis < tensor.shape.size(); ++axis) rows *= tensor.shape[axis];
  const int64_t source_bytes = RowBytes(tensor.type, columns);
  const int64_t target_bytes = RowBytes(type, columns);
  const int64_t piece_rows = std::max<int64_t>(1, kPieceElements / columns);
  const int64_t pieces = (rows + piece_rows - 1) / piece_rows;

  std::string out(rows * target_bytes, '\0');
  std::vector<absl::Status> errors(pieces);
  std::atomic<int64_t> next_piece = 0;
  const auto convert_pieces = [&] {
    std::vector<float> values;
    for (int64_t piece; (piece = next_piece.fetch_add(1)) < pieces;) {
      const int64_t begin = piece * piece_rows, end = std::min(rows, begin + piece_rows);
      values.resize((end - begin) * columns);
      Dequantize(tensor.type, tensor.data.data() + begin * source_bytes, values.size(),
                 values.data());
      const absl::StatusOr<std::string> blocks = Quantize(type, values);
      errors[piece] = blocks.status();
      if (!blocks.ok()) continue;
      CHECK_EQ(static_cast<int64_t>(blocks->size()), (end - begin) * target_bytes);
      std::copy(blocks->begin(), blocks->end(), out.begin() + begin * target_bytes);
    }
  };
  std::vector<std::thread> others;
  for (int i = 1; i < std::min<int64_t>(threads, pieces); ++i) others.emplace_back(convert_pieces);
  convert_pieces();
  for (std::thread& other : others) other.join();

  for (int64_t piece = 0; piece < pieces; ++piece) {
    if (errors[piece].ok()) continue;
    return absl::Status(errors[piece].code(),
                        absl::StrCat("tensor '", tensor.name, "', from row ", piece * piece_rows,
                                     " on: ", errors[piece].message()));
  }
  return out;
}

}  // namespace facet
