// Operations on rows of activations: embedding, moving, norms, activations, arg-max. Bound by
// memory; one block a row, or one thread an element.
#include <cuda_runtime.h>
#include <float.h>

#include "kernels/cuda/block_types.cuh"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/reduce.cuh"

namespace facet::cuda {
namespace {

constexpr int kThreads = 256;

unsigned BlocksFor(int64_t elements) {
  return static_cast<unsigned>((elements + kThreads - 1) / kThreads);
}

template <int kType>
__global__ void EmbedKernel(const uint8_t* table, int64_t columns, const int32_t* ids, float scale,
                            float* out) {
  const uint8_t* row = RowOf<kType>(table, ids[blockIdx.x], columns);
  float* to = out + blockIdx.x * columns;
  for (int64_t i = threadIdx.x; i < columns; i += kThreads) {
    to[i] = ValueOfRow<kType>(row, i) * scale;
  }
}

__global__ void GatherKernel(const float* x, const int32_t* rows_of_x, int columns, float* out,
                             int64_t out_stride) {
  const int64_t from = rows_of_x == nullptr ? blockIdx.x : rows_of_x[blockIdx.x];
  for (int i = threadIdx.x; i < columns; i += kThreads) {
    out[blockIdx.x * out_stride + i] = x[from * columns + i];
  }
}

__global__ void ScatterKernel(const float* x, const int32_t* rows_of_out, int columns, float* out) {
  const int64_t to = rows_of_out[blockIdx.x];
  for (int i = threadIdx.x; i < columns; i += kThreads) {
    out[to * columns + i] = x[int64_t{blockIdx.x} * columns + i];
  }
}

__global__ void AddRowsKernel(float* x, const float* y, int64_t y_stride, int columns) {
  for (int i = threadIdx.x; i < columns; i += kThreads) {
    x[int64_t{blockIdx.x} * columns + i] += y[blockIdx.x * y_stride + i];
  }
}

__global__ void LayerNormKernel(const float* x, const float* weight, const float* bias, int columns,
                                float epsilon, float* out) {
  __shared__ float scratch[kThreads / kWarp];
  x += int64_t{blockIdx.x} * columns;
  out += int64_t{blockIdx.x} * columns;
  float sum = 0;
  for (int i = threadIdx.x; i < columns; i += kThreads) sum += x[i];
  const float mean = BlockSum<kThreads>(sum, scratch) / columns;
  float squares = 0;
  for (int i = threadIdx.x; i < columns; i += kThreads) squares += (x[i] - mean) * (x[i] - mean);
  const float factor = 1.0f / sqrtf(BlockSum<kThreads>(squares, scratch) / columns + epsilon);
  for (int i = threadIdx.x; i < columns; i += kThreads) {
    out[i] = (x[i] - mean) * factor * weight[i] + bias[i];
  }
}

// 1 / rms of a row.
__device__ float NormFactor(const float* x, int columns, float epsilon, float* scratch) {
  float squares = 0;
  for (int i = threadIdx.x; i < columns; i += kThreads) squares += x[i] * x[i];
  return 1.0f / sqrtf(BlockSum<kThreads>(squares, scratch) / columns + epsilon);
}

__global__ void RmsNormKernel(const float* x, const float* weight, int columns, float epsilon,
                              float* out) {
  __shared__ float scratch[kThreads / kWarp];
  x += int64_t{blockIdx.x} * columns;
  out += int64_t{blockIdx.x} * columns;
  const float factor = NormFactor(x, columns, epsilon, scratch);
  for (int i = threadIdx.x; i < columns; i += kThreads) {
    out[i] = x[i] * factor * (weight == nullptr ? 1.0f : weight[i]);
  }
}

__global__ void AddNormedKernel(float* x, const float* y, const float* weight, int columns,
                                float epsilon, float scale) {
  __shared__ float scratch[kThreads / kWarp];
  x += int64_t{blockIdx.x} * columns;
  y += int64_t{blockIdx.x} * columns;
  const float factor = NormFactor(y, columns, epsilon, scratch);
  for (int i = threadIdx.x; i < columns; i += kThreads) {
    x[i] = (x[i] + y[i] * factor * weight[i]) * scale;
  }
}

__global__ void GeGluKernel(const float* gate, const float* up, int64_t elements, float* out) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= elements) return;
  const float t = gate[i];
  const float inner = 0.7978845608028654f * (t + 0.044715f * t * t * t);  // sqrt(2 / pi)
  out[i] = 0.5f * t * (1.0f + tanhf(inner)) * up[i];
}

__global__ void SoftCapKernel(float* x, int64_t elements, float cap) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < elements) x[i] = cap * tanhf(x[i] / cap);
}

// Each thread looks at its columns in ascending order, so the first of equals wins; between threads
// the smaller column does.
__global__ void ArgMaxKernel(const float* x, int columns, const int32_t* skipped, int skipped_count,
                             int32_t* out) {
  __shared__ float values[kThreads];
  __shared__ int32_t places[kThreads];
  x += int64_t{blockIdx.x} * columns;
  float best = -FLT_MAX;
  int32_t place = INT32_MAX;
  for (int32_t i = threadIdx.x; i < columns; i += kThreads) {
    bool skip = false;
    for (int s = 0; s < skipped_count; ++s) skip |= skipped[s] == i;
    if (skip || (place != INT32_MAX && x[i] <= best)) continue;
    best = x[i];
    place = i;
  }
  values[threadIdx.x] = best;
  places[threadIdx.x] = place;
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x >= half) continue;
    const float other = values[threadIdx.x + half];
    const int32_t other_place = places[threadIdx.x + half];
    const bool has_own = places[threadIdx.x] != INT32_MAX, has_other = other_place != INT32_MAX;
    const bool wins =
        has_other && (!has_own || other > values[threadIdx.x] ||
                      (other == values[threadIdx.x] && other_place < places[threadIdx.x]));
    if (!wins) continue;
    values[threadIdx.x] = other;
    places[threadIdx.x] = other_place;
  }
  if (threadIdx.x == 0) out[blockIdx.x] = places[0];
}

}  // namespace

void EmbedTokens(const BlockMatrix& table, const int32_t* ids, int rows, float scale, float* out,
                 Stream stream) {
  ForBlockType(table.type, [&]<int kType>() {
    EmbedKernel<kType><<<rows, kThreads, 0, stream>>>(table.data, table.columns, ids, scale, out);
  });
}

void GatherRows(const float* x, const int32_t* rows_of_x, int rows, int columns, float* out,
                int64_t out_stride, Stream stream) {
  GatherKernel<<<rows, kThreads, 0, stream>>>(x, rows_of_x, columns, out, out_stride);
}

void ScatterRows(const float* x, const int32_t* rows_of_out, int rows, int columns, float* out,
                 Stream stream) {
  ScatterKernel<<<rows, kThreads, 0, stream>>>(x, rows_of_out, columns, out);
}

void AddRows(float* x, const float* y, int64_t y_stride, int rows, int columns, Stream stream) {
  AddRowsKernel<<<rows, kThreads, 0, stream>>>(x, y, y_stride, columns);
}

void LayerNorm(const float* x, const float* weight, const float* bias, int rows, int columns,
               float epsilon, float* out, Stream stream) {
  LayerNormKernel<<<rows, kThreads, 0, stream>>>(x, weight, bias, columns, epsilon, out);
}

void RmsNorm(const float* x, const float* weight, int rows, int columns, float epsilon, float* out,
             Stream stream) {
  RmsNormKernel<<<rows, kThreads, 0, stream>>>(x, weight, columns, epsilon, out);
}

void AddNormed(float* x, const float* y, const float* weight, int rows, int columns, float epsilon,
               float scale, Stream stream) {
  AddNormedKernel<<<rows, kThreads, 0, stream>>>(x, y, weight, columns, epsilon, scale);
}

void GeGlu(const float* gate, const float* up, int64_t elements, float* out, Stream stream) {
  GeGluKernel<<<BlocksFor(elements), kThreads, 0, stream>>>(gate, up, elements, out);
}

void SoftCap(float* x, int64_t elements, float cap, Stream stream) {
  SoftCapKernel<<<BlocksFor(elements), kThreads, 0, stream>>>(x, elements, cap);
}

void ArgMax(const float* x, int rows, int columns, const int32_t* skipped, int skipped_count,
            int32_t* out, Stream stream) {
  ArgMaxKernel<<<rows, kThreads, 0, stream>>>(x, columns, skipped, skipped_count, out);
}

}  // namespace facet::cuda
