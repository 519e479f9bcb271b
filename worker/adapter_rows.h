#ifndef FACET_WORKER_ADAPTER_ROWS_H_
#define FACET_WORKER_ADAPTER_ROWS_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/device.h"
#include "model/adapter.h"
#include "model/config.h"
#include "worker/adapter.h"
#include "worker/batch.h"
#include "worker/device_array.h"

namespace facet {

// Which rows of a batch use which adapter, and what these add to a layer's products. A row's change
// is computed by the same sums whatever rows stand beside it, so the law of serving holds. Owns the
// device memory for this, which `device` must outlive. Used by one thread, the engine's.
class AdapterRows {
 public:
  static absl::StatusOr<AdapterRows> Make(const TextConfig& config, int rows_max, Device* device);

  // REQUIRES: at most rows_max rows. The batch's adapters must live until the next Set.
  void Set(const Batch& batch);

  // out[r] += what row r's adapter changes of `matrix` of `layer` for the input x[r]; rows without
  // an adapter stay. Both are on the device: x [rows, inputs], out [rows, outputs].
  void Apply(int layer, AdapterMatrix matrix, const float* x, float* out);

 private:
  // The rows of one adapter.
  struct Group {
    const Adapter* adapter;
    const int32_t* rows;  // device, [count]; null: all rows of the batch
    int count;
  };

  explicit AdapterRows(Device* device) : device_(device) {}

  Device* device_;
  std::vector<Group> groups_;
  DeviceArray<int32_t> rows_;     // [rows_max], group after group
  DeviceArray<float> gathered_;   // [rows_max, widest input]
  DeviceArray<float> projected_;  // [rows_max, greatest rank]
};

}  // namespace facet

#endif  // FACET_WORKER_ADAPTER_ROWS_H_
