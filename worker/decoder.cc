#include "worker/decoder.h"

#include <algorithm>
#include <utility>

#include "base/status_macros.h"

namespace facet {

absl::StatusOr<Decoder> Decoder::Make(const TextConfig& config, int rows_max, Device* device) {
  int64_t query = 0, key = 0;
  for (const LayerConfig& layer : config.layers) {
    query = std::max<int64_t>(query, int64_t{config.query_heads} * layer.head_dim);
    key = std::max<int64_t>(key, int64_t{layer.kv_heads} * layer.head_dim);
  }
  Decoder made(config, device);
  const auto allocate = [&](DeviceBuffer& buffer, int64_t columns) -> absl::Status {
    ASSIGN_OR_RETURN(buffer,
                     device->Allocate(rows_max * columns * static_cast<int64_t>(sizeof(float))));
    return absl::OkStatus();
  };
  for (DeviceBuffer* buffer : {&made.hidden_, &made.normed_, &made.update_}) {
    RETURN_IF_ERROR(allocate(*buffer, config.hidden_size));
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
                       const AttentionRows& attention, const KvLayer& kv, int rows) {
  RunAttention(weights, layer, attention, kv, rows);
  RunFeedForward(weights, rows);
}

void Decoder::RunAttention(const LayerWeights& weights, const LayerConfig& layer,
                           const AttentionRows& attention, const KvLayer& kv, int rows) {
  device_->RmsNorm(hidden(), weights.attention_norm, rows, config_.hidden_size, config_.rms_epsilon,
                   Floats(normed_));
  device_->MatMul(Floats(normed_), weights.query, rows, Floats(query_));
  Device::QueryKeyValue qkv = {.query = Floats(query_),
                               .query_norm = weights.query_norm,
                               .key_norm = weights.key_norm,
                               .query_heads = config_.query_heads,
                               .epsilon = config_.rms_epsilon};
  if (weights.key.data != nullptr) {
    qkv.key = Floats(key_);
    device_->MatMul(Floats(normed_), weights.key, rows, Floats(key_));
    if (layer.sliding) {
      qkv.value = Floats(value_);
      device_->MatMul(Floats(normed_), weights.value, rows, Floats(value_));
    }
  }
  device_->NormRopeStore(qkv, attention.rope(), attention.rows(), kv);
  device_->Attend(Floats(query_), config_.query_heads, attention.rows(), kv, Floats(attended_));
  device_->MatMul(Floats(attended_), weights.output, rows, Floats(update_));
  device_->AddNormed(hidden(), Floats(update_), weights.post_attention_norm, rows,
                     config_.hidden_size, config_.rms_epsilon, /*scale=*/1.0f);
}

void Decoder::RunFeedForward(const LayerWeights& weights, int rows) {
  device_->RmsNorm(hidden(), weights.feed_forward_norm, rows, config_.hidden_size,
                   config_.rms_epsilon, Floats(normed_));
  device_->MatMul(Floats(normed_), weights.gate, rows, Floats(gate_));
  device_->MatMul(Floats(normed_), weights.up, rows, Floats(up_));
  device_->GeGlu(Floats(gate_), Floats(up_), int64_t{rows} * config_.feed_forward_size,
                 Floats(gate_));
  device_->MatMul(Floats(gate_), weights.down, rows, Floats(update_));
  device_->AddNormed(hidden(), Floats(update_), weights.post_feed_forward_norm, rows,
                     config_.hidden_size, config_.rms_epsilon, weights.scale);
}

}  // namespace facet
