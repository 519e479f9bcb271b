#ifndef FACET_KERNELS_HOST_MEMORY_H_
#define FACET_KERNELS_HOST_MEMORY_H_

#include "kernels/device.h"

namespace facet {

// What devices have in common whose memory is the host's: nothing is copied where it can be used in
// place. Memory is reserved, and given by the system as it is touched.
class DeviceInHostMemory : public Device {
 public:
  absl::StatusOr<DeviceBuffer> Allocate(int64_t bytes) final;
  void CopyToDevice(void* to, const void* from, int64_t bytes) final;
  void CopyToHostBlocking(void* to, const void* from, int64_t bytes) final;
  const float* ReadBlocking(const float* from, int64_t elements) final;
  absl::StatusOr<Weight> LoadWeight(TensorType type, int64_t rows, int64_t columns,
                                    const void* host) final;
};

}  // namespace facet

#endif  // FACET_KERNELS_HOST_MEMORY_H_
