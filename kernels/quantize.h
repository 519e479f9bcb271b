#ifndef FACET_KERNELS_QUANTIZE_H_
#define FACET_KERNELS_QUANTIZE_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/tensor_type.h"

namespace facet {

// Whether Quantize can write the type: F32, F16, BF16, Q8_0, Q4_0, Q4_K, Q5_K, Q6_K.
bool CanQuantize(TensorType type);

// Codes `values` as blocks of `type`. UNIMPLEMENTED for a type that CanQuantize refuses;
// INVALID_ARGUMENT where the count is no whole number of blocks or a value is not finite.
absl::StatusOr<std::string> Quantize(TensorType type, absl::Span<const float> values);

}  // namespace facet

#endif  // FACET_KERNELS_QUANTIZE_H_
