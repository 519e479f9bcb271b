#ifndef FACET_KERNELS_CUDA_HOST_DEVICE_H_
#define FACET_KERNELS_CUDA_HOST_DEVICE_H_

#include <stdint.h>
#include <string.h>

#ifdef __CUDACC__
#include <cuda_fp16.h>
#define FACET_HOST_DEVICE __host__ __device__
#else
#define FACET_HOST_DEVICE
#endif

// What kernels and their tests on the host share: arithmetic that gives the same bits on both. nvcc
// would contract a product and a sum to one rounding, so both are spelled out.
namespace facet::cuda {

FACET_HOST_DEVICE inline float Multiply(float a, float b) {
#ifdef __CUDA_ARCH__
  return __fmul_rn(a, b);
#else
  return a * b;
#endif
}

FACET_HOST_DEVICE inline float Add(float a, float b) {
#ifdef __CUDA_ARCH__
  return __fadd_rn(a, b);
#else
  return a + b;
#endif
}

FACET_HOST_DEVICE inline float FromBits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof(value));
  return value;
}
FACET_HOST_DEVICE inline uint32_t BitsOf(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof(bits));
  return bits;
}

// IEEE half precision at any address: halves of blocks are not aligned.
FACET_HOST_DEVICE inline float HalfAt(const uint8_t* p) {
  const uint16_t bits = static_cast<uint16_t>(p[0] | p[1] << 8);
#ifdef __CUDA_ARCH__
  return __half2float(__ushort_as_half(bits));
#else
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16;
  const uint32_t exponent = (bits >> 10) & 31, mantissa = bits & 1023;
  if (exponent == 31) return FromBits(sign | 0x7F800000 | mantissa << 13);
  if (exponent > 0) return FromBits(sign | (exponent + 112) << 23 | mantissa << 13);
  const float magnitude = static_cast<float>(mantissa) * 5.9604644775390625e-8f;  // 2^-24
  return sign == 0 ? magnitude : -magnitude;
#endif
}

}  // namespace facet::cuda

#endif  // FACET_KERNELS_CUDA_HOST_DEVICE_H_
