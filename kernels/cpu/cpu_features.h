#ifndef FACET_KERNELS_CPU_CPU_FEATURES_H_
#define FACET_KERNELS_CPU_CPU_FEATURES_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "kernels/cpu/vector_kernels.h"

namespace facet {

// The inner loops for `path`: "avx2", "avx512", or "auto" for the best this processor has.
// INVALID_ARGUMENT for another word; FAILED_PRECONDITION where the processor lacks the set (a
// processor without AVX2, FMA and F16C cannot run Facet at all: x86-64 since 2013 has them).
absl::StatusOr<const VectorKernels*> PickVectorKernels(absl::string_view path);

}  // namespace facet

#endif  // FACET_KERNELS_CPU_CPU_FEATURES_H_
