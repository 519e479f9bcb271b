#include "kernels/dequantize.h"

#include "base/check.h"
#include "kernels/cpu/dequantize.inl"

namespace facet {

void Dequantize(TensorType type, const void* blocks, int64_t elements, float* out) {
  const auto* bytes = static_cast<const uint8_t*>(blocks);
  CHECK_EQ(elements % InfoOf(type).block_elements, 0);
  switch (type) {
    case TensorType::kF32:
      return DequantizeF32(bytes, elements, out);
    case TensorType::kF16:
      return DequantizeF16(bytes, elements, out);
    case TensorType::kBF16:
      return DequantizeBF16(bytes, elements, out);
    case TensorType::kQ4_0:
      return DequantizeQ4_0(bytes, elements, out);
    case TensorType::kQ4_1:
      return DequantizeQ4_1(bytes, elements, out);
    case TensorType::kQ5_0:
      return DequantizeQ5_0(bytes, elements, out);
    case TensorType::kQ5_1:
      return DequantizeQ5_1(bytes, elements, out);
    case TensorType::kQ8_0:
      return DequantizeQ8_0(bytes, elements, out);
    case TensorType::kQ2_K:
      return DequantizeQ2_K(bytes, elements, out);
    case TensorType::kQ3_K:
      return DequantizeQ3_K(bytes, elements, out);
    case TensorType::kQ4_K:
      return DequantizeQ4_K(bytes, elements, out);
    case TensorType::kQ5_K:
      return DequantizeQ5_K(bytes, elements, out);
    case TensorType::kQ6_K:
      return DequantizeQ6_K(bytes, elements, out);
    case TensorType::kIQ4_NL:
      return DequantizeIQ4_NL(bytes, elements, out);
    case TensorType::kIQ4_XS:
      return DequantizeIQ4_XS(bytes, elements, out);
  }
  CHECK(false) << "tensor type " << static_cast<uint32_t>(type);
}

}  // namespace facet
