#ifndef FACET_KERNELS_TESTING_HOST_MEMORY_DEVICE_H_
#define FACET_KERNELS_TESTING_HOST_MEMORY_DEVICE_H_

#include <memory>

#include "kernels/device.h"

namespace facet::testing {

// A device whose operations take memory of the host: copies what an operation reads to the device
// that does the work, and what it wrote back. So one test fits devices with memory of their own and
// those without. Slow; for tests.
std::unique_ptr<Device> OnHostMemory(std::unique_ptr<Device> device);

}  // namespace facet::testing

#endif  // FACET_KERNELS_TESTING_HOST_MEMORY_DEVICE_H_
