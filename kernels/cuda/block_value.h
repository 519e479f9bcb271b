#ifndef FACET_KERNELS_CUDA_BLOCK_VALUE_H_
#define FACET_KERNELS_CUDA_BLOCK_VALUE_H_

#include "kernels/cuda/host_device.h"

namespace facet::cuda {

// Value `i` of a block of one of GGUF's formats: the same bits as kernels/dequantize.h, which names
// the layouts' source. One value at a time, for what is not worth a kernel of its own, and for the
// portable product. `kType` is a TensorType's number: its header is too much for nvcc.
template <int kType>
FACET_HOST_DEVICE float BlockValue(const uint8_t* block, int i);

template <int kType>
inline constexpr int kBlockElements = 0;
template <int kType>
inline constexpr int kBlockBytes = 0;

#define FACET_BLOCK(type, elements, bytes)              \
  template <>                                           \
  inline constexpr int kBlockElements<type> = elements; \
  template <>                                           \
  inline constexpr int kBlockBytes<type> = bytes;       \
  template <>                                           \
  FACET_HOST_DEVICE inline float BlockValue<type>(const uint8_t* block, int i)

// The low or the high four bits of a byte.
FACET_HOST_DEVICE inline int Nibble(uint8_t byte, bool high) {
  return high ? byte >> 4 : byte & 15;
}
FACET_HOST_DEVICE inline uint32_t U32At(const uint8_t* p) {
  return p[0] | p[1] << 8 | p[2] << 16 | static_cast<uint32_t>(p[3]) << 24;
}

// F32, F16, BF16
FACET_BLOCK(0, 1, 4) { return FromBits(U32At(block)); }
FACET_BLOCK(1, 1, 2) { return HalfAt(block); }
FACET_BLOCK(30, 1, 2) {
  return FromBits(static_cast<uint32_t>(block[0]) << 16 | static_cast<uint32_t>(block[1]) << 24);
}

// Q4_0: half d; u8 q[16]
FACET_BLOCK(2, 32, 18) {
  return Multiply(HalfAt(block), static_cast<float>(Nibble(block[2 + i % 16], i >= 16) - 8));
}
// Q4_1: half d; half m; u8 q[16]
FACET_BLOCK(3, 32, 20) {
  const auto code = static_cast<float>(Nibble(block[4 + i % 16], i >= 16));
  return Add(Multiply(HalfAt(block), code), HalfAt(block + 2));
}
// Q5_0: half d; u32 high bits; u8 q[16]
FACET_BLOCK(6, 32, 22) {
  const int code = Nibble(block[6 + i % 16], i >= 16) | static_cast<int>(U32At(block + 2) >> i & 1)
                                                            << 4;
  return Multiply(HalfAt(block), static_cast<float>(code - 16));
}
// Q5_1: half d; half m; u32 high bits; u8 q[16]
FACET_BLOCK(7, 32, 24) {
  const int code = Nibble(block[8 + i % 16], i >= 16) | static_cast<int>(U32At(block + 4) >> i & 1)
                                                            << 4;
  return Add(Multiply(HalfAt(block), static_cast<float>(code)), HalfAt(block + 2));
}
// Q8_0: half d; i8 q[32]
FACET_BLOCK(8, 32, 34) {
  return Multiply(HalfAt(block), static_cast<float>(static_cast<int8_t>(block[2 + i])));
}

// Q2_K: u8 scales[16] (4 bits scale, 4 bits minimum); u8 q[64]; half d; half dmin
FACET_BLOCK(10, 256, 84) {
  const int half = i / 128, group = i % 128 / 16;
  const uint8_t scale = block[8 * half + group];
  const uint8_t codes = block[16 + 32 * half + 16 * (group % 2) + i % 16];
  const float step = Multiply(HalfAt(block + 80), static_cast<float>(scale & 15));
  const float minimum = Multiply(HalfAt(block + 82), static_cast<float>(scale >> 4));
  return Add(Multiply(step, static_cast<float>(codes >> (2 * (group / 2)) & 3)), -minimum);
}
// Q3_K: u8 high[32]; u8 q[64]; u8 scales[12] (16 of 6 bits); half d
FACET_BLOCK(11, 256, 110) {
  const int group = i / 16, within = 16 * (group % 2) + i % 16;
  const uint8_t* packed = block + 96;
  const int low = group < 8 ? packed[group] & 15 : packed[group - 8] >> 4;
  const int top = packed[8 + group % 4] >> (2 * (group / 4)) & 3;
  const float step = Multiply(HalfAt(block + 108), static_cast<float>((low | top << 4) - 32));
  const int code = (block[32 + 32 * (group / 8) + within] >> (2 * (group % 8 / 2)) & 3) +
                   ((block[within] >> (group / 2) & 1) << 2);
  return Multiply(step, static_cast<float>(code - 4));
}

// The step and the minimum of sub-block `s` of Q4_K and Q5_K.
FACET_HOST_DEVICE inline void StepOf(const uint8_t* block, int s, float* step, float* minimum) {
  const uint8_t* packed = block + 4;
  const int scale = s < 4 ? packed[s] & 63 : (packed[s + 4] & 15) | packed[s - 4] >> 6 << 4;
  const int low = s < 4 ? packed[s + 4] & 63 : packed[s + 4] >> 4 | packed[s] >> 6 << 4;
  *step = Multiply(HalfAt(block), static_cast<float>(scale));
  *minimum = Multiply(HalfAt(block + 2), static_cast<float>(low));
}
// Q4_K: half d; half dmin; u8 scales[12]; u8 q[128]
FACET_BLOCK(12, 256, 144) {
  float step, minimum;
  StepOf(block, i / 32, &step, &minimum);
  const int code = Nibble(block[16 + 32 * (i / 64) + i % 32], i % 64 >= 32);
  return Add(Multiply(step, static_cast<float>(code)), -minimum);
}
// Q5_K: half d; half dmin; u8 scales[12]; u8 high[32]; u8 q[128]
FACET_BLOCK(13, 256, 176) {
  float step, minimum;
  StepOf(block, i / 32, &step, &minimum);
  const int high = block[16 + i % 32] >> (i / 32) & 1;
  const int code = Nibble(block[48 + 32 * (i / 64) + i % 32], i % 64 >= 32) | high << 4;
  return Add(Multiply(step, static_cast<float>(code)), -minimum);
}
// Q6_K: u8 low[128]; u8 high[64]; i8 scales[16]; half d
FACET_BLOCK(14, 256, 210) {
  const int half = i / 128, part = i % 128 / 32, within = i % 32;
  const auto scale = static_cast<int8_t>(block[192 + 8 * half + 2 * part + within / 16]);
  const int low = block[64 * half + 32 * (part % 2) + within] >> (4 * (part / 2)) & 15;
  const int high = block[128 + 32 * half + within] >> (2 * part) & 3;
  const float step = Multiply(HalfAt(block + 208), static_cast<float>(scale));
  return Multiply(step, static_cast<float>((low | high << 4) - 32));
}

// The sixteen levels of the IQ4 formats.
FACET_HOST_DEVICE inline float Iq4Level(int code) {
  constexpr int8_t kLevels[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                  1,    13,   25,  38,  53,  69,  89,  113};
  return static_cast<float>(kLevels[code]);
}
// IQ4_NL: half d; u8 q[16]
FACET_BLOCK(20, 32, 18) {
  return Multiply(HalfAt(block), Iq4Level(Nibble(block[2 + i % 16], i >= 16)));
}
// IQ4_XS: half d; u16 high scale bits; u8 low scale bits[4]; u8 q[128]
FACET_BLOCK(23, 256, 136) {
  const int group = i / 32;
  const int high = (block[2] | block[3] << 8) >> (2 * group) & 3;
  const int scale = Nibble(block[4 + group / 2], group % 2 == 1) | high << 4;
  const float step = Multiply(HalfAt(block), static_cast<float>(scale - 32));
  return Multiply(step, Iq4Level(Nibble(block[8 + 16 * group + i % 16], i % 32 >= 16)));
}

#undef FACET_BLOCK

}  // namespace facet::cuda

#endif  // FACET_KERNELS_CUDA_BLOCK_VALUE_H_
