#include "worker/decoder.h"

#include <algorithm>
#include <utility>

#include "base/status_macros.h"

namespace facet {

absl::StatusOr<Decoder> Decoder::Make(const TextConfig& config, int rows_max, Device* device,
                                      DeviceGroup* group) {
  int64_t query = 0, key = 0;
  for (const LayerConfig& layer : config.layers) {
    query = std::max<int64_t>(query, int64_t{config.query_heads} * layer.head_dim);
    key = std::max<int64_t>(key, int64_t{layer.kv_heads} * layer.head_dim);
  }
  Decoder made(config, device, group);
  const auto allocate = [&](DeviceArray<float>& array, int64_t columns) -> absl::Status {
    ASSIGN_OR_RETURN(array, DeviceArray<float>::Make(*device, rows_max * columns));
    return absl::OkStatus();
  };
  for (DeviceArray<float>* array : {&made.hidden_, &made.normed_, &made.update_}) {
    RETURN_IF_ERROR(allocate(*array, config.hidden_size));
  }
  RETURN_IF_ERROR(allocate(made.query_, query));
  RETURN_IF_ERROR(allocate(made.attended_, query));
  RETURN_IF_ERROR(allocate(made.key_, key));
  RETURN_IF_ERROR(allocate(made.value_, key));
  RETURN_IF_ERROR(allocate(made.gate_, config.feed_forward_size));
  RETURN_IF_ERROR(allocate(made.up_, config.feed_forward_size));
  return made;
}

void Decoder::RunLayer(const LayerWeights& weights, const LayerConfig& layer,
                       const AttentionRows& attention, const KvLayer& kv, int rows,
                       const Change& change) {
  RunAttention(weights, layer, attention, kv, rows, change);
  RunFeedForward(weights, rows, change);
}

void Decoder::Project(const float* x, const Weight& weight, AdapterMatrix matrix,
                      const Change& change, int rows, float* out) {
  device_->MatMul(x, weight, rows, out);
  if (change.adapters != nullptr) change.adapters->Apply(change.layer, matrix, x, out);
}

void Decoder::RunAttention(const LayerWeights& weights, const LayerConfig& layer,
                           const AttentionRows& attention, const KvLayer& kv, int rows,
                           const Change& change) {
  device_->RmsNorm(hidden(), weights.attention_norm, rows, config_.hidden_size, config_.rms_epsilon,
                   normed_.data());
  Project(normed_.data(), weights.query, AdapterMatrix::kQuery, change, rows, query_.data());
  Device::QueryKeyValue qkv = {.query = query_.data(),
                               .query_norm = weights.query_norm,
                               .key_norm = weights.key_norm,
                               .query_heads = config_.query_heads,
                               .epsilon = config_.rms_epsilon};
  if (weights.key.data != nullptr) {
    qkv.key = key_.data();
    Project(normed_.data(), weights.key, AdapterMatrix::kKey, change, rows, key_.data());
    if (layer.sliding) {
      qkv.value = value_.data();
      Project(normed_.data(), weights.value, AdapterMatrix::kValue, change, rows, value_.data());
    }
  }
  device_->NormRopeStore(qkv, attention.rope(), attention.rows(), kv);
  device_->Attend(query_.data(), config_.query_heads, attention.rows(), kv, attended_.data());
  Project(attended_.data(), weights.output, AdapterMatrix::kOutput, change, rows, update_.data());
  group_->AllReduceSum(update_.data(), int64_t{rows} * config_.hidden_size);
  device_->AddNormed(hidden(), update_.data(), weights.post_attention_norm, rows,
                     config_.hidden_size, config_.rms_epsilon, /*scale=*/1.0f);
}

void Decoder::RunFeedForward(const LayerWeights& weights, int rows, const Change& change) {
  device_->RmsNorm(hidden(), weights.feed_forward_norm, rows, config_.hidden_size,
                   config_.rms_epsilon, normed_.data());
  Project(normed_.data(), weights.gate, AdapterMatrix::kGate, change, rows, gate_.data());
  Project(normed_.data(), weights.up, AdapterMatrix::kUp, change, rows, up_.data());
  device_->GeGlu(gate_.data(), up_.data(), int64_t{rows} * config_.feed_forward_size, gate_.data());
  Project(gate_.data(), weights.down, AdapterMatrix::kDown, change, rows, update_.data());
  group_->AllReduceSum(update_.data(), int64_t{rows} * config_.hidden_size);
  device_->AddNormed(hidden(), update_.data(), weights.post_feed_forward_norm, rows,
                     config_.hidden_size, config_.rms_epsilon, weights.scale);
}

}  // namespace facet
