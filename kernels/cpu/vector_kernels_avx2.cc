#include "kernels/cpu/vector_kernels.inl"

namespace facet {

const VectorKernels* Avx2Kernels() {
  static constexpr VectorKernels kKernels = MakeKernels("avx2");
  return &kKernels;
}

}  // namespace facet
