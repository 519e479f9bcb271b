#ifndef FACET_KERNELS_REFERENCE_DEVICE_H_
#define FACET_KERNELS_REFERENCE_DEVICE_H_

#include <memory>

#include "kernels/device.h"

namespace facet {

// Each operation as its formula reads, one loop after the other, summed in double: what faster
// devices are tested against. Slow, and never used to serve.
std::unique_ptr<Device> MakeReferenceDevice();

}  // namespace facet

#endif  // FACET_KERNELS_REFERENCE_DEVICE_H_
