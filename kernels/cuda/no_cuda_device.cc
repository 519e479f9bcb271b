#include "absl/status/status.h"
#include "kernels/cuda/cuda_device.h"

namespace facet {

absl::StatusOr<std::unique_ptr<Device>> MakeCudaDevice(int /*index*/) {
  return absl::FailedPreconditionError(
      "this build has no CUDA: build it with --config=cuda where the CUDA toolkit is installed");
}

}  // namespace facet
