#ifndef FACET_WORKER_DEVICE_GROUP_H_
#define FACET_WORKER_DEVICE_GROUP_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "kernels/collective.h"
#include "kernels/device.h"

namespace facet {

// Logs why the group is lost and ends the process, so that a supervisor starts it into a new one.
// The requests that ran are moved on by routers, as after any death of a worker.
[[noreturn]] void EndWithGroup(const absl::Status& reason);

// What a rank of a tensor-parallel group computes together with the others, on its device. A group
// that fails ends the process: none of its ranks can go on. Both parts must outlive it. Used by one
// thread, the engine's.
class DeviceGroup {
 public:
  DeviceGroup(Collective* collective, Device* device)
      : collective_(*collective), device_(*device) {}

  int rank() const { return collective_.rank(); }
  int size() const { return collective_.size(); }

  // x = the sum of all ranks' x: device, [elements]. A group of one does nothing.
  void AllReduceSum(float* x, int64_t elements);
  // x = that of rank 0: device, [elements].
  void Broadcast(float* x, int64_t elements);
  // out [size, own.size()]: all ranks' bytes, one after the other. Host.
  void AllGather(absl::Span<const uint8_t> own, void* out);
  // Rank 0 sends, all others receive as many bytes. Host.
  void Send(absl::Span<const uint8_t> bytes);
  void Receive(absl::Span<uint8_t> bytes);

 private:
  // `x` where the host can write it: in place, or a copy that WriteBack takes.
  float* HostCopyBlocking(float* x, int64_t elements);
  void WriteBack(float* x, const float* host, int64_t elements);

  Collective& collective_;
  Device& device_;
  std::vector<float> staging_;
};

}  // namespace facet

#endif  // FACET_WORKER_DEVICE_GROUP_H_
