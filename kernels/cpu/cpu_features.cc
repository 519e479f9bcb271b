#include "kernels/cpu/cpu_features.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace facet {
namespace {

bool HasAvx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("f16c");
}

bool HasAvx512() {
  return HasAvx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

}  // namespace

absl::StatusOr<const VectorKernels*> PickVectorKernels(absl::string_view path) {
  if (!HasAvx2()) {
    return absl::FailedPreconditionError(
        "this processor has no AVX2, FMA and F16C; Facet needs them (x86-64 since 2013)");
  }
  if (path == "auto") return HasAvx512() ? Avx512Kernels() : Avx2Kernels();
  if (path == "avx2") return Avx2Kernels();
  if (path == "avx512") {
    if (HasAvx512()) return Avx512Kernels();
    return absl::FailedPreconditionError("--cpu_path=avx512: this processor has no AVX-512");
  }
  return absl::InvalidArgumentError(
      absl::StrCat("--cpu_path=", path, " is none of auto, avx2, avx512"));
}

}  // namespace facet
