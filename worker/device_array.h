#ifndef FACET_WORKER_DEVICE_ARRAY_H_
#define FACET_WORKER_DEVICE_ARRAY_H_

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "kernels/device.h"

namespace facet {

// A fixed number of elements on a device, which must outlive it. Their memory is freed with this.
template <typename T>
class DeviceArray {
 public:
  DeviceArray() = default;
  static absl::StatusOr<DeviceArray> Make(Device& device, int64_t size) {
    DeviceArray array;
    ASSIGN_OR_RETURN(array.buffer_, device.Allocate(std::max<int64_t>(size, 1) * kElementBytes));
    array.device_ = &device;
    array.size_ = size;
    return array;
  }

  T* data() const { return static_cast<T*>(buffer_.get()); }
  int64_t size() const { return size_; }
  // Copies `values` to the beginning. REQUIRES: there is room for them.
  void Upload(absl::Span<const T> values) {
    CHECK_LE(static_cast<int64_t>(values.size()), size_);
    if (values.empty()) return;
    device_->CopyToDevice(buffer_.get(), values.data(),
                          static_cast<int64_t>(values.size()) * kElementBytes);
  }

 private:
  static constexpr int64_t kElementBytes = sizeof(T);

  Device* device_ = nullptr;
  DeviceBuffer buffer_;
  int64_t size_ = 0;
};

}  // namespace facet

#endif  // FACET_WORKER_DEVICE_ARRAY_H_
