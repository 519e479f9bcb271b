#ifndef FACET_KERNELS_CUDA_BLOCK_TYPES_CUH_
#define FACET_KERNELS_CUDA_BLOCK_TYPES_CUH_

#include "kernels/cuda/block_value.h"

namespace facet::cuda {

// Calls `launch.operator()<type>()` for the format of this number; false if there is none such.
template <typename Launch>
bool ForBlockType(int type, const Launch& launch) {
  switch (type) {
#define FACET_CASE(number)                \
  case number:                            \
    launch.template operator()<number>(); \
    return true;
    FACET_CASE(0)
    FACET_CASE(1)
    FACET_CASE(2)
    FACET_CASE(3)
    FACET_CASE(6)
    FACET_CASE(7)
    FACET_CASE(8)
    FACET_CASE(10)
    FACET_CASE(11)
    FACET_CASE(12)
    FACET_CASE(13)
    FACET_CASE(14)
    FACET_CASE(20)
    FACET_CASE(23)
    FACET_CASE(30)
#undef FACET_CASE
    default:
      return false;
  }
}

// Element `column` of a row.
template <int kType>
__device__ inline float ValueOfRow(const uint8_t* row, int64_t column) {
  const int64_t block = column / kBlockElements<kType>;
  return BlockValue<kType>(row + block * kBlockBytes<kType>,
                           static_cast<int>(column - block * kBlockElements<kType>));
}

template <int kType>
__device__ inline const uint8_t* RowOf(const uint8_t* data, int64_t row, int64_t columns) {
  return data + row * (columns / kBlockElements<kType>)*kBlockBytes<kType>;
}

}  // namespace facet::cuda

#endif  // FACET_KERNELS_CUDA_BLOCK_TYPES_CUH_
