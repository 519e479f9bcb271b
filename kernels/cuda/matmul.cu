// Products with weights in GGUF's blocks, for any card: weights are decoded where they are used.
// A warp computes one column of the output for up to eight rows. Lane l sums the inputs l, l + 32,
// ..., then the lanes' sums are added in a tree: the same order whatever the number of rows.
#include <cuda_runtime.h>

#include "kernels/cuda/block_types.cuh"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/reduce.cuh"

namespace facet::cuda {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / kWarp;
constexpr int kRowTile = 8;

template <int kType>
__global__ void __launch_bounds__(kThreads)
    MatMulKernel(const float* x, const uint8_t* weight, int64_t columns, int64_t outputs, int rows,
                 float* out) {
  const int64_t output = int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp;
  if (output >= outputs) return;
  const int first_row = static_cast<int>(blockIdx.y) * kRowTile;
  const int lane = threadIdx.x % kWarp;
  const uint8_t* row = RowOf<kType>(weight, output, columns);
  const float* inputs[kRowTile];
#pragma unroll
  for (int r = 0; r < kRowTile; ++r) {
    inputs[r] = x + int64_t{min(first_row + r, rows - 1)} * columns;
  }
  float sums[kRowTile] = {};
  for (int64_t k = lane; k < columns; k += kWarp) {
    const float value = ValueOfRow<kType>(row, k);
#pragma unroll
    for (int r = 0; r < kRowTile; ++r) sums[r] = fmaf(inputs[r][k], value, sums[r]);
  }
#pragma unroll
  for (int r = 0; r < kRowTile; ++r) {
    const float sum = WarpSum(sums[r]);
    if (lane == 0 && first_row + r < rows) out[int64_t{first_row + r} * outputs + output] = sum;
  }
}

template <int kType>
__global__ void __launch_bounds__(kThreads)
    AddCombinationsKernel(const float* x, const uint8_t* basis, int64_t basis_rows, int64_t columns,
                          float scale, const int32_t* rows_of_out, float* out) {
  const int64_t column = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (column >= columns) return;
  const int64_t row = blockIdx.y;
  float sum = 0;
  for (int64_t k = 0; k < basis_rows; ++k) {
    sum = fmaf(x[row * basis_rows + k], ValueOfRow<kType>(RowOf<kType>(basis, k, columns), column),
               sum);
  }
  float& to = out[(rows_of_out == nullptr ? row : rows_of_out[row]) * columns + column];
  to = fmaf(scale, sum, to);
}

}  // namespace

void MatMul(const float* x, const BlockMatrix& weight, int rows, float* out, Stream stream) {
  const dim3 grid(static_cast<unsigned>((weight.rows + kWarps - 1) / kWarps),
                  static_cast<unsigned>((rows + kRowTile - 1) / kRowTile));
  ForBlockType(weight.type, [&]<int kType>() {
    MatMulKernel<kType>
        <<<grid, kThreads, 0, stream>>>(x, weight.data, weight.columns, weight.rows, rows, out);
  });
}

void AddCombinations(const float* x, const BlockMatrix& basis, float scale,
                     const int32_t* rows_of_out, int rows, float* out, Stream stream) {
  const dim3 grid(static_cast<unsigned>((basis.columns + kThreads - 1) / kThreads),
                  static_cast<unsigned>(rows));
  ForBlockType(basis.type, [&]<int kType>() {
    AddCombinationsKernel<kType><<<grid, kThreads, 0, stream>>>(
        x, basis.data, basis.rows, basis.columns, scale, rows_of_out, out);
  });
}

}  // namespace facet::cuda
