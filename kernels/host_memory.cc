#include "kernels/host_memory.h"

#include <sys/mman.h>

#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace facet {

absl::StatusOr<DeviceBuffer> DeviceInHostMemory::Allocate(int64_t bytes) {
  CHECK_GT(bytes, 0);
  void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) {
    return absl::ResourceExhaustedError(absl::StrCat("no ", bytes, " bytes of memory left"));
  }
  return DeviceBuffer(data, [bytes](void* memory) { munmap(memory, bytes); });
}

void DeviceInHostMemory::CopyToDevice(void* to, const void* from, int64_t bytes) {
  std::memcpy(to, from, bytes);
}

void DeviceInHostMemory::CopyToHostBlocking(void* to, const void* from, int64_t bytes) {
  std::memcpy(to, from, bytes);
}

const float* DeviceInHostMemory::ReadBlocking(const float* from, int64_t /*elements*/) {
  return from;
}

absl::StatusOr<Weight> DeviceInHostMemory::LoadWeight(TensorType type, int64_t rows,
                                                      int64_t columns, const void* host) {
  return Weight{type, rows, columns, host};
}

}  // namespace facet
