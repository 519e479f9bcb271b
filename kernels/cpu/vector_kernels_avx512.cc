#include "kernels/cpu/vector_kernels.inl"

namespace facet {

const VectorKernels* Avx512Kernels() {
  static constexpr VectorKernels kKernels = MakeKernels("avx512");
  return &kKernels;
}

}  // namespace facet
