// Norm, rotation and storing of queries, keys and values, and attention over pages, for any card.
// One block for each row and head. Four warps share a row's keys: page p is that of warp p % 4, and
// the warps' results are put together in order, so the sums depend on the row's own context alone.
#include <cuda_runtime.h>
#include <math.h>

#include "kernels/cuda/kv_code.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/reduce.cuh"

namespace facet::cuda {
namespace {

constexpr int kPageTokens = 64;
constexpr int kThreads = 128, kWarps = kThreads / kWarp;
constexpr int kHeadDimMax = 512;
constexpr int kRowValuesMax = 2 * kHeadDimMax;

// --- Where dimensions stand in a stored row: kernels/kv_layer.h. ---

__device__ bool Turned(const KvView& kv, int d) { return d % (kv.head_dim / 2) < kv.turned_pairs; }

__device__ int ValueIndex(const KvView& kv, int d) {
  if (!kv.narrow) return kv.head_dim + d;
  const int half = kv.head_dim / 2;
  const bool second_half = d >= half;
  const int within = d - (second_half ? half : 0);
  if (Turned(kv, d)) return kv.head_dim + within + (second_half ? kv.turned_pairs : 0);
  return kv.turned_pairs + within + (second_half ? half - kv.turned_pairs : 0);
}

__device__ int KeyIndex(const KvView& kv, int d) {
  if (!kv.narrow) return d;
  if (!Turned(kv, d)) return ValueIndex(kv, d);
  return d < kv.turned_pairs ? d : d - kv.head_dim / 2 + kv.turned_pairs;
}

__device__ uint8_t* StoredRow(const KvView& kv, int row, int position, int kv_head) {
  const int64_t table = int64_t{kv.sequence[row]} * kv.page_table_stride;
  const int64_t page = kv.page_tables[table + position / kPageTokens];
  return kv.pages + page * kv.page_bytes +
         (int64_t{kv_head} * kPageTokens + position % kPageTokens) * kv.row_bytes;
}

// --- Norm, rotation, store. ---

// head[d] = x[d] / rms(x) * weight[d], in shared memory.
__device__ void NormHead(const float* x, const float* weight, int head_dim, float epsilon,
                         float* scratch, float* head) {
  float squares = 0;
  for (int d = threadIdx.x; d < head_dim; d += kThreads) squares += x[d] * x[d];
  const float factor = 1.0f / sqrtf(BlockSum<kThreads>(squares, scratch) / head_dim + epsilon);
  for (int d = threadIdx.x; d < head_dim; d += kThreads) {
    head[d] = x[d] * factor * (weight == nullptr ? 1.0f : weight[d]);
  }
  __syncthreads();
}

__device__ void RotateHead(const QueryKeyValueView& qkv, int row, int head_dim, float* head) {
  for (int i = threadIdx.x; i < qkv.pairs; i += kThreads) {
    const float cosine = qkv.cosines[int64_t{row} * qkv.pairs + i];
    const float sine = qkv.sines[int64_t{row} * qkv.pairs + i];
    const float a = head[i], b = head[i + head_dim / 2];
    head[i] = a * cosine - b * sine;
    head[i + head_dim / 2] = b * cosine + a * sine;
  }
  __syncthreads();
}

__global__ void __launch_bounds__(kThreads) NormRopeStoreKernel(QueryKeyValueView qkv, KvView kv) {
  __shared__ float scratch[kWarps];
  __shared__ float key[kHeadDimMax], value[kHeadDimMax], stored[kRowValuesMax];
  const int row = blockIdx.x, head_dim = kv.head_dim;
  const int head = blockIdx.y;
  if (head < qkv.query_heads) {
    float* query = qkv.query + (int64_t{row} * qkv.query_heads + head) * head_dim;
    NormHead(query, qkv.query_norm, head_dim, qkv.epsilon, scratch, key);
    RotateHead(qkv, row, head_dim, key);
    for (int d = threadIdx.x; d < head_dim; d += kThreads) query[d] = key[d];
    return;
  }
  const int kv_head = head - qkv.query_heads;
  const int64_t at = (int64_t{row} * kv.kv_heads + kv_head) * head_dim;
  const float* own_value = qkv.value == nullptr ? qkv.key : qkv.value;
  NormHead(own_value + at, nullptr, head_dim, qkv.epsilon, scratch, value);
  NormHead(qkv.key + at, qkv.key_norm, head_dim, qkv.epsilon, scratch, key);
  RotateHead(qkv, row, head_dim, key);
  for (int d = threadIdx.x; d < head_dim; d += kThreads) {
    stored[ValueIndex(kv, d)] = value[d];
    if (!kv.narrow || Turned(kv, d)) stored[KeyIndex(kv, d)] = key[d];
  }
  __syncthreads();
  uint8_t* to = StoredRow(kv, row, kv.position[row], kv_head);
  for (int group = threadIdx.x; group * kKvGroup < kv.row_values; group += kThreads) {
    EncodeKvGroup(static_cast<KvCode>(kv.format), stored, kv.row_values, group, to);
  }
}

// --- Attention. ---

// What a warp has summed up so far: exp(score - maximum) of its keys, and the values times that.
template <int kPerLane>
struct Partial {
  float maximum = -INFINITY;
  float sum = 0;
  float values[kPerLane] = {};
};

template <int kPerLane, int kFormat>
__device__ void AddKey(const KvView& kv, const float* query, const uint8_t* row,
                       Partial<kPerLane>& partial) {
  constexpr auto format = static_cast<KvCode>(kFormat);
  const int lane = threadIdx.x % kWarp;
  float score = 0;
#pragma unroll
  for (int j = 0; j < kPerLane; ++j) {
    const int d = lane + kWarp * j;
    if (d < kv.head_dim) score = fmaf(query[d], KvValue(format, row, kv.row_values, d), score);
  }
  score = WarpSum(score);
  const float maximum = fmaxf(partial.maximum, score);
  const float shrink = expf(partial.maximum - maximum), share = expf(score - maximum);
  partial.maximum = maximum;
  partial.sum = partial.sum * shrink + share;
  const int values_at = kv.row_values - kv.head_dim;
#pragma unroll
  for (int j = 0; j < kPerLane; ++j) {
    const int d = lane + kWarp * j;
    if (d >= kv.head_dim) continue;
    const float value = KvValue(format, row, kv.row_values, values_at + d);
    partial.values[j] = fmaf(share, value, partial.values[j] * shrink);
  }
}

template <int kPerLane, int kFormat>
__global__ void __launch_bounds__(kThreads)
    AttendKernel(const float* query, int query_heads, KvView kv, float* out) {
  __shared__ float packed[kHeadDimMax];
  __shared__ float maxima[kWarps], sums[kWarps];
  __shared__ float values[kWarps][kWarp * kPerLane];
  const int row = blockIdx.x, head = blockIdx.y;
  const int kv_head = head / (query_heads / kv.kv_heads);
  const int64_t at = (int64_t{row} * query_heads + head) * kv.head_dim;
  for (int d = threadIdx.x; d < kv.head_dim; d += kThreads) {
    const bool from_value = kv.narrow && !Turned(kv, d);
    packed[KeyIndex(kv, d)] = query[at + d] * (from_value ? kv.key_norm[d] : 1.0f);
  }
  __syncthreads();
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int first = kv.first_key[row], last = kv.last_key[row];
  Partial<kPerLane> partial;
  for (int page = first / kPageTokens; page <= last / kPageTokens; ++page) {
    if (page % kWarps != warp) continue;
    const int begin = max(first, page * kPageTokens);
    const int end = min(last, page * kPageTokens + kPageTokens - 1);
    for (int key = begin; key <= end; ++key) {
      AddKey<kPerLane, kFormat>(kv, packed, StoredRow(kv, row, key, kv_head), partial);
    }
  }
  if (lane == 0) {
    maxima[warp] = partial.maximum;
    sums[warp] = partial.sum;
  }
#pragma unroll
  for (int j = 0; j < kPerLane; ++j) values[warp][lane + kWarp * j] = partial.values[j];
  __syncthreads();
  float maximum = maxima[0];
  for (int w = 1; w < kWarps; ++w) maximum = fmaxf(maximum, maxima[w]);
  float sum = 0;
  for (int w = 0; w < kWarps; ++w) sum += sums[w] * expf(maxima[w] - maximum);
  const int values_at = kv.row_values - kv.head_dim;
  for (int d = threadIdx.x; d < kv.head_dim; d += kThreads) {
    const int place = ValueIndex(kv, d) - values_at;
    float value = 0;
    for (int w = 0; w < kWarps; ++w) value += values[w][place] * expf(maxima[w] - maximum);
    out[at + d] = value / sum;
  }
}

template <int kPerLane>
void LaunchAttend(const float* query, int query_heads, const KvView& kv, int rows, float* out,
                  Stream stream) {
  const dim3 grid(rows, query_heads);
  switch (kv.format) {
    case kKvF32:
      return AttendKernel<kPerLane, kKvF32>
          <<<grid, kThreads, 0, stream>>>(query, query_heads, kv, out);
    case kKvBf16:
      return AttendKernel<kPerLane, kKvBf16>
          <<<grid, kThreads, 0, stream>>>(query, query_heads, kv, out);
    case kKvFp8:
      return AttendKernel<kPerLane, kKvFp8>
          <<<grid, kThreads, 0, stream>>>(query, query_heads, kv, out);
    default:
      return AttendKernel<kPerLane, kKvQ8>
          <<<grid, kThreads, 0, stream>>>(query, query_heads, kv, out);
  }
}

}  // namespace

void NormRopeStore(const QueryKeyValueView& qkv, const KvView& kv, int rows, Stream stream) {
  const dim3 grid(rows, qkv.query_heads + (qkv.key == nullptr ? 0 : kv.kv_heads));
  NormRopeStoreKernel<<<grid, kThreads, 0, stream>>>(qkv, kv);
}

void Attend(const float* query, int query_heads, const KvView& kv, int rows, float* out,
            Stream stream) {
  if (kv.head_dim <= 64) return LaunchAttend<2>(query, query_heads, kv, rows, out, stream);
  if (kv.head_dim <= 128) return LaunchAttend<4>(query, query_heads, kv, rows, out, stream);
  if (kv.head_dim <= 256) return LaunchAttend<8>(query, query_heads, kv, rows, out, stream);
  LaunchAttend<16>(query, query_heads, kv, rows, out, stream);
}

}  // namespace facet::cuda
