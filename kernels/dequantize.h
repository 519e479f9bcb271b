#ifndef FACET_KERNELS_DEQUANTIZE_H_
#define FACET_KERNELS_DEQUANTIZE_H_

#include <cstdint>

#include "base/tensor_type.h"

namespace facet {

// Decodes `elements` values stored as `type` at `blocks` (host). REQUIRES: whole blocks. The same
// bits as every device's own decoder. Plain C++: for loading small vectors, for tools and tests.
void Dequantize(TensorType type, const void* blocks, int64_t elements, float* out);

}  // namespace facet

#endif  // FACET_KERNELS_DEQUANTIZE_H_
