#ifndef FACET_KERNELS_KV_FORMAT_H_
#define FACET_KERNELS_KV_FORMAT_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace facet {

// How the numbers of stored keys and values are coded, `n` of them in a row. The values index
// VectorKernels::decode_kv.
enum class KvFormat {
  kF32 = 0,   // n float32
  kBf16 = 1,  // n bfloat16
  kFp8 = 2,   // n e4m3 without a scale: largest 448, smallest 2^-9, no infinity
  kQ8 = 3,    // n int8, then ceil(n / 32) halves: the steps of each 32 neighbours (the last may be
              // fewer)
};
inline constexpr int kKvFormats = 4;
inline constexpr int kKvStepValues = 32;  // of kQ8, that share a step

// "f32", "bf16", "fp8", "q8". INVALID_ARGUMENT names the flag --kv_format and the names there are.
absl::StatusOr<KvFormat> KvFormatFromName(absl::string_view name);
absl::string_view NameOf(KvFormat format);

// Bytes of `count` coded values.
int64_t KvBytes(KvFormat format, int64_t count);

// Codes `count` values, each to the nearest code, ties to even. FP8 saturates at 448; the other
// formats keep infinities (Q8 as NaN). NaN is kept by all: Q8 reads its whole 32 values as NaN.
// Plain C++, on the host: the same bits on every machine.
void EncodeKv(KvFormat format, const float* values, int64_t count, uint8_t* codes);
void DecodeKv(KvFormat format, const uint8_t* codes, int64_t count, float* values);

}  // namespace facet

#endif  // FACET_KERNELS_KV_FORMAT_H_
