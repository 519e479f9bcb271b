#ifndef FACET_KERNELS_CUDA_REDUCE_CUH_
#define FACET_KERNELS_CUDA_REDUCE_CUH_

#include <stdint.h>

namespace facet::cuda {

inline constexpr int kWarp = 32;

// The sum over a warp, in all lanes, always in the same order.
__device__ inline float WarpSum(float value) {
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    value += __shfl_xor_sync(0xffffffff, value, offset);
  }
  return value;
}

// The sum over a block of `kThreads`, in all threads, always in the same order. `scratch` is shared
// memory for a float each warp; it may be used again at once.
template <int kThreads>
__device__ inline float BlockSum(float value, float* scratch) {
  static_assert(kThreads % kWarp == 0 && kThreads <= kWarp * kWarp);
  constexpr int kWarps = kThreads / kWarp;
  value = WarpSum(value);
  if (threadIdx.x % kWarp == 0) scratch[threadIdx.x / kWarp] = value;
  __syncthreads();
  float sum = threadIdx.x % kWarp < kWarps ? scratch[threadIdx.x % kWarp] : 0.0f;
  sum = WarpSum(sum);
  __syncthreads();
  return sum;
}

}  // namespace facet::cuda

#endif  // FACET_KERNELS_CUDA_REDUCE_CUH_
