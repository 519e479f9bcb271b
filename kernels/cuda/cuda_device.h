#ifndef FACET_KERNELS_CUDA_CUDA_DEVICE_H_
#define FACET_KERNELS_CUDA_CUDA_DEVICE_H_

#include <memory>

#include "absl/status/statusor.h"
#include "kernels/device.h"

namespace facet {

// The decoder's operations on an NVIDIA card of compute capability 8.0 or more, in float32, on one
// stream; weights lie on the card as the file has them and are decoded where they are used.
// FAILED_PRECONDITION says what is missing: a build with --config=cuda, a driver, a card of this
// number, a newer card. An error of the card in mid-step (a lost device, a fault of our own) ends
// the process with one line that names it: routers move its requests to other workers.
absl::StatusOr<std::unique_ptr<Device>> MakeCudaDevice(int index);

}  // namespace facet

#endif  // FACET_KERNELS_CUDA_CUDA_DEVICE_H_
