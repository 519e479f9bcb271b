#include "worker/adapter_rows.h"

#include <algorithm>
#include <utility>

#include "base/status_macros.h"
#include "model/adapter_config.h"

namespace facet {

absl::StatusOr<AdapterRows> AdapterRows::Make(const TextConfig& config, int rows_max,
                                              Device* device) {
  int64_t input = std::max(config.hidden_size, config.feed_forward_size);
  for (const LayerConfig& layer : config.layers) {
    input = std::max(input, int64_t{config.query_heads} * layer.head_dim);
  }
  AdapterRows made(device);
  ASSIGN_OR_RETURN(made.rows_, DeviceArray<int32_t>::Make(*device, rows_max));
  ASSIGN_OR_RETURN(made.gathered_, DeviceArray<float>::Make(*device, rows_max * input));
  ASSIGN_OR_RETURN(made.projected_,
                   DeviceArray<float>::Make(*device, int64_t{rows_max} * kAdapterRankMax));
  return made;
}

void AdapterRows::Set(const Batch& batch) {
  groups_.clear();
  std::vector<const Adapter*> seen;  // few: a linear search is fine
  std::vector<std::vector<int32_t>> rows;
  for (int row = 0; row < batch.rows(); ++row) {
    const Adapter* adapter = batch.adapters[batch.sequence[row]];
    if (adapter == nullptr) continue;
    const size_t group = std::find(seen.begin(), seen.end(), adapter) - seen.begin();
    if (group == seen.size()) {
      seen.push_back(adapter);
      rows.emplace_back();
    }
    rows[group].push_back(row);
  }
  std::vector<int32_t> all;
  for (size_t i = 0; i < seen.size(); ++i) {
    const int count = static_cast<int>(rows[i].size());
    const bool whole = count == batch.rows();
    groups_.push_back({seen[i], whole ? nullptr : rows_.data() + all.size(), count});
    all.insert(all.end(), rows[i].begin(), rows[i].end());
  }
  rows_.Upload(all);
}

void AdapterRows::Apply(int layer, AdapterMatrix matrix, const float* x, float* out) {
  for (const Group& group : groups_) {
    const AdapterWeight& weight = group.adapter->layers[layer][static_cast<int>(matrix)];
    if (weight.a.data == nullptr) continue;
    const float* input = x;
    if (group.rows != nullptr) {
      const int columns = static_cast<int>(weight.a.columns);
      device_->GatherRows(x, group.rows, group.count, columns, gathered_.data(), columns);
      input = gathered_.data();
    }
    device_->MatMul(input, weight.a, group.count, projected_.data());
    device_->AddCombinations(projected_.data(), weight.b, weight.scale, group.rows, group.count,
                             out);
  }
}

}  // namespace facet
