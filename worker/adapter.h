#ifndef FACET_WORKER_ADAPTER_H_
#define FACET_WORKER_ADAPTER_H_

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/device.h"
#include "model/adapter.h"
#include "worker/shard_plan.h"

namespace facet {

// The change of one matrix: y += scale * (x a^T) b.
struct AdapterWeight {
  Weight a;  // [rank, inputs]; no data: the matrix is not changed
  Weight b;  // [rank, outputs]: the file's B turned over, so that its rows are long
  float scale = 0;
};

// A LoRA adapter on a device; in a tensor-parallel group, this rank's part of it. Immutable. Shared
// by the registry and the requests that use it, so its memory is free when the last of them has let
// go of it.
struct Adapter {
  std::string name;
  std::string path;
  std::string digest;  // 32 bytes, of its contents: part of page keys
  int rank_max = 0;
  int64_t bytes = 0;                                                // on the device
  std::vector<std::array<AdapterWeight, kAdapterMatrices>> layers;  // by AdapterMatrix's value
  DeviceBuffer buffer;                                              // all of the weights
};

// Reads the adapter at `path` (model/adapter.h) and puts it on `device`, which must outlive it.
// Any thread may call it. Errors as AdapterFile::Open.
absl::StatusOr<std::unique_ptr<Adapter>> BlockingLoadAdapter(const std::string& name,
                                                             const std::string& path,
                                                             const ShardPlan& base,
                                                             int64_t bytes_max, Device& device);

}  // namespace facet

#endif  // FACET_WORKER_ADAPTER_H_
