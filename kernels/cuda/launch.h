#ifndef FACET_KERNELS_CUDA_LAUNCH_H_
#define FACET_KERNELS_CUDA_LAUNCH_H_

#include <stdint.h>

// What the device (cuda_device.cc) calls to queue kernels on a stream: plain C++, without CUDA's
// headers. All pointers are device memory; matrices are row-major float32 without gaps unless said
// otherwise. Each operation is that of the same name in kernels/device.h. Launch errors stay with
// the runtime, for cudaGetLastError.
//
// These kernels are the portable path: plain CUDA C++ for any card from sm_80 on. Sums run in an
// order that depends on the shape alone, never on the number of rows, so the law of serving holds.

struct CUstream_st;

namespace facet::cuda {

using Stream = CUstream_st*;

struct BlockMatrix {
  int type = 0;  // TensorType's number.
  int64_t rows = 0, columns = 0;
  const uint8_t* data = nullptr;
};

void EmbedTokens(const BlockMatrix& table, const int32_t* ids, int rows, float scale, float* out,
                 Stream stream);
void GatherRows(const float* x, const int32_t* rows_of_x, int rows, int columns, float* out,
                int64_t out_stride, Stream stream);
void ScatterRows(const float* x, const int32_t* rows_of_out, int rows, int columns, float* out,
                 Stream stream);
void AddRows(float* x, const float* y, int64_t y_stride, int rows, int columns, Stream stream);
void LayerNorm(const float* x, const float* weight, const float* bias, int rows, int columns,
               float epsilon, float* out, Stream stream);
void RmsNorm(const float* x, const float* weight, int rows, int columns, float epsilon, float* out,
             Stream stream);
void AddNormed(float* x, const float* y, const float* weight, int rows, int columns, float epsilon,
               float scale, Stream stream);
void GeGlu(const float* gate, const float* up, int64_t elements, float* out, Stream stream);
void SoftCap(float* x, int64_t elements, float cap, Stream stream);
void ArgMax(const float* x, int rows, int columns, const int32_t* skipped, int skipped_count,
            int32_t* out, Stream stream);

// out [rows, weight.rows] = x [rows, weight.columns] * weight^T.
void MatMul(const float* x, const BlockMatrix& weight, int rows, float* out, Stream stream);
// out[rows_of_out[r]] += scale * x[r] * basis; F32, F16 or BF16.
void AddCombinations(const float* x, const BlockMatrix& basis, float scale,
                     const int32_t* rows_of_out, int rows, float* out, Stream stream);

// A layer's pages and what a row sees of them, as KvLayer and KvRows in kernels/.
struct KvView {
  int format = 0;  // KvFormat's number.
  bool narrow = false;
  int kv_heads = 0, head_dim = 0, turned_pairs = 0;
  int row_values = 0;
  int64_t row_bytes = 0, page_bytes = 0;
  const float* key_norm = nullptr;
  uint8_t* pages = nullptr;
  const int32_t* position = nullptr;
  const int32_t* sequence = nullptr;
  const int32_t* first_key = nullptr;
  const int32_t* last_key = nullptr;
  const int32_t* page_tables = nullptr;
  int page_table_stride = 0;
};
struct QueryKeyValueView {
  float* query = nullptr;
  float* key = nullptr;
  const float* value = nullptr;
  const float* query_norm = nullptr;
  const float* key_norm = nullptr;
  int query_heads = 0;
  float epsilon = 0;
  const float* cosines = nullptr;
  const float* sines = nullptr;
  int pairs = 0;
};
void NormRopeStore(const QueryKeyValueView& qkv, const KvView& kv, int rows, Stream stream);
void Attend(const float* query, int query_heads, const KvView& kv, int rows, float* out,
            Stream stream);

}  // namespace facet::cuda

#endif  // FACET_KERNELS_CUDA_LAUNCH_H_
