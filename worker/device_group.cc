#include "worker/device_group.h"

#include <unistd.h>

#include <string>

#include "base/check.h"
#include "base/log.h"

namespace facet {
namespace {

constexpr int kGroupLostExitCode = 3;

void EndUnlessOk(const absl::Status& status) {
  if (!status.ok()) EndWithGroup(status);
}

}  // namespace

void EndWithGroup(const absl::Status& reason) {
  LogError("the tensor-parallel group is lost", {{"reason", std::string(reason.message())}});
  // Not exit: other threads are in the middle of steps that cannot end.
  _exit(kGroupLostExitCode);
}

void DeviceGroup::AllReduceSum(float* x, int64_t elements) {
  if (size() == 1) return;
  float* const host = HostCopyBlocking(x, elements);
  EndUnlessOk(collective_.AllReduceSum(host, elements));
  WriteBack(x, host, elements);
}

void DeviceGroup::Broadcast(float* x, int64_t elements) {
  if (size() == 1) return;
  float* const host = HostCopyBlocking(x, elements);
  EndUnlessOk(collective_.Broadcast(host, elements * static_cast<int64_t>(sizeof(float))));
  if (rank() != 0) WriteBack(x, host, elements);
}

void DeviceGroup::AllGather(absl::Span<const uint8_t> own, void* out) {
  EndUnlessOk(collective_.AllGather(own.data(), static_cast<int64_t>(own.size()), out));
}

void DeviceGroup::Send(absl::Span<const uint8_t> bytes) {
  CHECK_EQ(rank(), 0);
  // Rank 0's bytes are only read.
  EndUnlessOk(collective_.Broadcast(const_cast<uint8_t*>(bytes.data()),
                                    static_cast<int64_t>(bytes.size())));
}

void DeviceGroup::Receive(absl::Span<uint8_t> bytes) {
  CHECK_GT(rank(), 0);
  EndUnlessOk(collective_.Broadcast(bytes.data(), static_cast<int64_t>(bytes.size())));
}

float* DeviceGroup::HostCopyBlocking(float* x, int64_t elements) {
  const float* const host = device_.ReadBlocking(x, elements);
  if (host == x) return x;
  staging_.assign(host, host + elements);
  return staging_.data();
}

void DeviceGroup::WriteBack(float* x, const float* host, int64_t elements) {
  if (host != x) device_.CopyToDevice(x, host, elements * static_cast<int64_t>(sizeof(float)));
}

}  // namespace facet
