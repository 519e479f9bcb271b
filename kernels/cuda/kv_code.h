#ifndef FACET_KERNELS_CUDA_KV_CODE_H_
#define FACET_KERNELS_CUDA_KV_CODE_H_

#include "kernels/cuda/host_device.h"

namespace facet::cuda {

// Keys and values in their pages: the same bits as kernels/kv_format.h, which names the formats.
enum KvCode : int { kKvF32 = 0, kKvBf16 = 1, kKvFp8 = 2, kKvQ8 = 3 };
inline constexpr int kKvGroup = 32;  // values that one thread codes; of Q8 they share a step

// Adding and taking it away rounds a small float to a whole number, ties to even.
inline constexpr float kWholeFloat = 12582912.0f;  // 1.5 * 2^23

FACET_HOST_DEVICE inline uint16_t Bf16Code(float value) {
  const uint32_t bits = BitsOf(value);
  const bool is_nan = (bits & 0x7FFFFFFF) > 0x7F800000;
  return static_cast<uint16_t>(is_nan ? (bits >> 16) | 0x40
                                      : (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

FACET_HOST_DEVICE inline uint8_t E4m3Code(float value) {
  const uint32_t bits = BitsOf(value);
  const uint32_t sign = (bits >> 24) & 0x80;
  const uint32_t magnitude_bits = bits & 0x7FFFFFFF;
  if (magnitude_bits > 0x7F800000) return static_cast<uint8_t>(sign | 0x7F);
  const float magnitude = FromBits(magnitude_bits) < 448.0f ? FromBits(magnitude_bits) : 448.0f;
  const uint32_t small =
      BitsOf(Add(Multiply(magnitude, 512.0f), kWholeFloat)) - BitsOf(kWholeFloat);
  const uint32_t kept = BitsOf(magnitude);
  const uint32_t large = ((kept + 0x7FFFF + ((kept >> 20) & 1)) >> 20) - ((127 - 7) << 3);
  return static_cast<uint8_t>(sign | (magnitude < 0.015625f ? small : large));
}

FACET_HOST_DEVICE inline float E4m3Value(uint8_t code) {
  const uint32_t sign = static_cast<uint32_t>(code & 0x80) << 24;
  const uint32_t exponent = (code >> 3) & 15, mantissa = code & 7;
  if ((code & 0x7F) == 0x7F) return FromBits(sign | 0x7FC00000);
  if (exponent > 0) return FromBits(sign | (exponent + 120) << 23 | mantissa << 20);
  const float magnitude = static_cast<float>(mantissa) * 0.001953125f;  // 2^-9
  return sign == 0 ? magnitude : -magnitude;
}

FACET_HOST_DEVICE inline uint16_t HalfCode(float value) {
#ifdef __CUDACC__
  return __half_as_ushort(__float2half_rn(value));
#else
  const auto half = static_cast<_Float16>(value);
  uint16_t code;
  memcpy(&code, &half, sizeof(code));
  return code;
#endif
}

// Codes the values [32 * group, min(count, 32 * group + 32)) of a row of `count`.
FACET_HOST_DEVICE inline void EncodeKvGroup(KvCode format, const float* values, int count,
                                            int group, uint8_t* row) {
  const int begin = group * kKvGroup;
  const int end = begin + kKvGroup < count ? begin + kKvGroup : count;
  if (format != kKvQ8) {
    for (int i = begin; i < end; ++i) {
      if (format == kKvF32) memcpy(row + 4 * i, &values[i], 4);
      if (format == kKvFp8) row[i] = E4m3Code(values[i]);
      if (format != kKvBf16) continue;
      const uint16_t code = Bf16Code(values[i]);
      memcpy(row + 2 * i, &code, 2);
    }
    return;
  }
  float largest = 0;
  bool has_nan = false;
  for (int i = begin; i < end; ++i) {
    const float magnitude = FromBits(BitsOf(values[i]) & 0x7FFFFFFF);
    has_nan |= magnitude != magnitude;
    if (magnitude > largest) largest = magnitude;
  }
  const uint16_t step = HalfCode(has_nan ? FromBits(0x7FC00000) : largest / 127.0f);
  row[count + 2 * group] = static_cast<uint8_t>(step);
  row[count + 2 * group + 1] = static_cast<uint8_t>(step >> 8);
  const float read_back = HalfAt(row + count + 2 * group);
  const bool codable = read_back > 0 && read_back <= 65504.0f;
  for (int i = begin; i < end; ++i) {
    float whole = codable ? Add(Add(values[i] / read_back, kWholeFloat), -kWholeFloat) : 0.0f;
    whole = whole < -127.0f ? -127.0f : whole > 127.0f ? 127.0f : whole;
    row[i] = static_cast<uint8_t>(static_cast<int8_t>(whole));
  }
}

// Value `i` of a row of `count`.
FACET_HOST_DEVICE inline float KvValue(KvCode format, const uint8_t* row, int count, int i) {
  switch (format) {
    case kKvF32: {
      float value;
      memcpy(&value, row + 4 * i, 4);
      return value;
    }
    case kKvBf16:
      return FromBits(static_cast<uint32_t>(row[2 * i] | row[2 * i + 1] << 8) << 16);
    case kKvFp8:
      return E4m3Value(row[i]);
    default:
      return Multiply(static_cast<float>(static_cast<int8_t>(row[i])),
                      HalfAt(row + count + i / kKvGroup * 2));
  }
}

}  // namespace facet::cuda

#endif  // FACET_KERNELS_CUDA_KV_CODE_H_
