#ifndef FACET_KERNELS_CPU_VECTOR_KERNELS_H_
#define FACET_KERNELS_CPU_VECTOR_KERNELS_H_

#include <stdint.h>

// The inner loops of the CPU path, once for each instruction set, from one source
// (vector_kernels.inl). This header and that source use nothing with inline C++ functions: the
// linker keeps one copy of such a function, and a copy with AVX-512 in it would crash a processor
// without.
//
// One arithmetic for all: a sum over K is sixteen partial sums, lane l taking the elements
// l, l + 16, ... in ascending order by fused multiply-add, which are then added in a fixed tree.
// AVX2 keeps the sixteen lanes in two registers and AVX-512 in one, so both give the same bits, and
// a result never depends on how many rows or columns are computed beside it.

namespace facet {

// Decodes `elements` values of a row of quantised blocks. REQUIRES: whole blocks.
typedef void (*DequantizeFunction)(const uint8_t* blocks, int64_t elements, float* out);

// Decodes `count` stored values of keys and values (kernels/kv_format.h). REQUIRES: count is a
// multiple of 16.
typedef void (*DecodeKvFunction)(const uint8_t* codes, int64_t count, float* out);

// One page of 64 keys and values, and the query vectors, `heads` for each of `rows` rows, that
// attend to it. Row r sees the keys [begin[r], end[r]) of the page, none if that is empty; keys
// that no row sees are not read. Scores and values are folded into each vector's running maximum,
// sum of exponentials and output, which start from -inf, 0 and 0. REQUIRES: head_dim is a multiple
// of 16.
struct AttendTile {
  int64_t rows;
  int64_t heads;
  int64_t head_dim;
  const int* begin;     // [rows]
  const int* end;       // [rows]
  const float* values;  // [64, head_dim], at stride value_stride
  int64_t value_stride;
  float* scores;   // [rows * heads, 64]; overwritten
  float* rescale;  // [rows * heads]; overwritten
  float* maximum;  // [rows * heads]
  float* sum;      // [rows * heads]
  float* out;      // [rows * heads, head_dim]
};

struct VectorKernels {
  const char* name;  // "avx2", "avx512"

  // By TensorType's value; null where there is no such type.
  DequantizeFunction dequantize[31];

  // out[i * out_stride + j] = sum over k of x[i * x_stride + k] * w[j * w_stride + k].
  // REQUIRES: size is a multiple of 16.
  void (*dot_tile)(const float* x, int64_t x_stride, int64_t x_rows, const float* w,
                   int64_t w_stride, int64_t w_rows, int64_t size, float* out, int64_t out_stride);

  // The same sums over a part of K, kept as sixteen lanes: sums[(i * w_rows + j) * 16 + l] goes on
  // from what it holds. Followed by `reduce`, equal bit for bit to dot_tile over the whole of K.
  void (*dot_accumulate)(const float* x, int64_t x_stride, int64_t x_rows, const float* w,
                         int64_t w_stride, int64_t w_rows, int64_t size, float* sums);

  // out[i] += scale * sum over k of factors[k] * rows[k * size + i], summed in ascending k.
  // REQUIRES: size is a multiple of 16.
  void (*add_combination)(const float* factors, const float* rows, int64_t count, int64_t size,
                          float scale, float* out);

  // out[i] = the sum of lanes[i * 16 ... i * 16 + 15].
  void (*reduce)(const float* lanes, int64_t count, float* out);

  // out[i] = x[i] * weight[i] * (mean(x^2) + epsilon)^(-1/2); weight may be null (all ones).
  // REQUIRES: size is a multiple of 16. `out` may be `x`.
  void (*rms_norm)(const float* x, const float* weight, int64_t size, float epsilon, float* out);

  // x[i] = (x[i] + y[i]) * scale.
  void (*add_scale)(float* x, const float* y, int64_t size, float scale);

  // out[i] = gelu_tanh(gate[i]) * up[i]. REQUIRES: size is a multiple of 16.
  void (*geglu)(const float* gate, const float* up, int64_t size, float* out);

  // x[i] = cap * tanh(x[i] / cap).
  void (*softcap)(float* x, int64_t size, float cap);

  // By KvFormat's value.
  DecodeKvFunction decode_kv[4];

  // One step of flash attention, over a page of keys; see AttendTile.
  void (*attend_page)(const AttendTile& tile);
};

// REQUIRES: the processor has the instruction set.
const VectorKernels* Avx2Kernels();
const VectorKernels* Avx512Kernels();

}  // namespace facet

#endif  // FACET_KERNELS_CPU_VECTOR_KERNELS_H_
