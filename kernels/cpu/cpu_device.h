#ifndef FACET_KERNELS_CPU_CPU_DEVICE_H_
#define FACET_KERNELS_CPU_CPU_DEVICE_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "kernels/device.h"

namespace facet {

struct CpuOptions {
  int threads = 0;            // 0: one for each processor this process may use
  std::string path = "auto";  // instruction set: auto, avx2, avx512
};

// The decoder's operations on the processor's vector units, in float32: blocks of weights are
// decoded a panel at a time into a cache-sized buffer and multiplied with fused multiply-adds.
// INVALID_ARGUMENT or FAILED_PRECONDITION where the options do not fit the processor.
absl::StatusOr<std::unique_ptr<Device>> MakeCpuDevice(const CpuOptions& options);

}  // namespace facet

#endif  // FACET_KERNELS_CPU_CPU_DEVICE_H_
