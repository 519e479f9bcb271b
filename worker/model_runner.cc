#include "worker/model_runner.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/status_macros.h"

namespace facet {
namespace {

// What a batch looks like to one kind of layer, on the device.
struct LayerKind {
  std::vector<float> inverse_frequencies;  // [pairs]
  KvRows rows;
  RopeTable rope;
  // Owners of what the two above point to.
  DeviceBuffer position, sequence, first_key, last_key, page_tables, cosines, sines;
  int32_t pages_max = 0;  // entries of page_tables
};

class TextModelRunner final : public ModelRunner {
 public:
  TextModelRunner(const Weights* weights, KvCache* cache, Device* device,
                  const ModelRunnerOptions& options)
      : weights_(*weights),
        config_(weights->config),
        cache_(*cache),
        device_(*device),
        options_(options) {}

  absl::Status Allocate();
  absl::Span<const float> RunBlocking(const Batch& batch) override;
  const ModelRunnerOptions& options() const override { return options_; }

 private:
  absl::Status AllocateKind(bool sliding, LayerKind& kind);
  void CheckBatch(const Batch& batch) const;
  std::vector<int32_t> EmbeddedIds(const Batch& batch) const;
  void PrepareKind(const Batch& batch, bool sliding, LayerKind& kind);
  void RunLayer(int index, int rows);
  void RunAttention(const LayerWeights& weights, int index, int rows);
  void RunFeedForward(const LayerWeights& weights, int rows);
  void RunHead(const Batch& batch);

  template <typename T>
  absl::StatusOr<DeviceBuffer> AllocateArray(int64_t elements) {
    return device_.Allocate(std::max<int64_t>(elements, 1) * static_cast<int64_t>(sizeof(T)));
  }
  template <typename T>
  void Upload(const std::vector<T>& values, const DeviceBuffer& buffer) {
    device_.CopyToDevice(buffer.get(), values.data(),
                         static_cast<int64_t>(values.size() * sizeof(T)));
  }
  static float* Floats(const DeviceBuffer& buffer) { return static_cast<float*>(buffer.get()); }
  static int32_t* Ints(const DeviceBuffer& buffer) { return static_cast<int32_t*>(buffer.get()); }

  const Weights& weights_;
  const TextConfig& config_;
  KvCache& cache_;
  Device& device_;
  const ModelRunnerOptions options_;

  LayerKind sliding_, full_;
  DeviceBuffer ids_;               // [rows_max]
  DeviceBuffer hidden_;            // [rows_max, H], the residual stream
  DeviceBuffer normed_;            // [rows_max, H]
  DeviceBuffer update_;            // [rows_max, H]
  DeviceBuffer query_, attended_;  // [rows_max, widest query]
  DeviceBuffer key_, value_;       // [rows_max, widest key]
  DeviceBuffer gate_, up_;         // [rows_max, feed forward]
  DeviceBuffer outputs_;           // [output_rows_max, H]
  DeviceBuffer logits_;            // [output_rows_max, vocabulary]
  std::vector<float> host_logits_;
};

// theta^(-2 i / head_dim), as transformers computes it in modeling_rope_utils.
std::vector<float> InverseFrequencies(float theta, int head_dim) {
  std::vector<float> frequencies(head_dim / 2);
  for (int i = 0; i < head_dim / 2; ++i) {
    frequencies[i] = static_cast<float>(1.0 / std::pow(double{theta}, 2.0 * i / head_dim));
  }
  return frequencies;
}

absl::Status TextModelRunner::AllocateKind(bool sliding, LayerKind& kind) {
  int head_dim = 0;
  for (const LayerConfig& layer : config_.layers) {
    if (layer.sliding == sliding) head_dim = layer.head_dim;
  }
  kind.inverse_frequencies =
      InverseFrequencies(sliding ? config_.rope_theta_sliding : config_.rope_theta_full, head_dim);
  if (!sliding) {
    kind.inverse_frequencies.resize(FullRopePairs(weights_));
    for (size_t i = 0; i < kind.inverse_frequencies.size(); ++i) {
      kind.inverse_frequencies[i] /= weights_.rope_divisors[i];
    }
  }
  kind.rope.pairs = static_cast<int>(kind.inverse_frequencies.size());
  const int64_t rows = options_.rows_max;
  ASSIGN_OR_RETURN(kind.position, AllocateArray<int32_t>(rows));
  ASSIGN_OR_RETURN(kind.sequence, AllocateArray<int32_t>(rows));
  ASSIGN_OR_RETURN(kind.first_key, AllocateArray<int32_t>(rows));
  ASSIGN_OR_RETURN(kind.last_key, AllocateArray<int32_t>(rows));
  ASSIGN_OR_RETURN(kind.cosines, AllocateArray<float>(rows * kind.rope.pairs));
  ASSIGN_OR_RETURN(kind.sines, AllocateArray<float>(rows * kind.rope.pairs));
  return absl::OkStatus();
}

absl::Status TextModelRunner::Allocate() {
  RETURN_IF_ERROR(AllocateKind(true, sliding_));
  RETURN_IF_ERROR(AllocateKind(false, full_));
  int64_t query = 0, key = 0;
  for (const LayerConfig& layer : config_.layers) {
    query = std::max<int64_t>(query, int64_t{config_.query_heads} * layer.head_dim);
    key = std::max<int64_t>(key, int64_t{layer.kv_heads} * layer.head_dim);
  }
  const int64_t rows = options_.rows_max, outputs = options_.output_rows_max;
  const int64_t hidden = config_.hidden_size;
  ASSIGN_OR_RETURN(ids_, AllocateArray<int32_t>(rows));
  ASSIGN_OR_RETURN(hidden_, AllocateArray<float>(rows * hidden));
  ASSIGN_OR_RETURN(normed_, AllocateArray<float>(rows * hidden));
  ASSIGN_OR_RETURN(update_, AllocateArray<float>(rows * hidden));
  ASSIGN_OR_RETURN(query_, AllocateArray<float>(rows * query));
  ASSIGN_OR_RETURN(attended_, AllocateArray<float>(rows * query));
  ASSIGN_OR_RETURN(key_, AllocateArray<float>(rows * key));
  ASSIGN_OR_RETURN(value_, AllocateArray<float>(rows * key));
  ASSIGN_OR_RETURN(gate_, AllocateArray<float>(rows * config_.feed_forward_size));
  ASSIGN_OR_RETURN(up_, AllocateArray<float>(rows * config_.feed_forward_size));
  ASSIGN_OR_RETURN(outputs_, AllocateArray<float>(outputs * hidden));
  ASSIGN_OR_RETURN(logits_, AllocateArray<float>(outputs * config_.vocab_size));
  return absl::OkStatus();
}

void TextModelRunner::CheckBatch(const Batch& batch) const {
  CHECK(batch.rows() >= 1 && batch.rows() <= options_.rows_max) << batch.rows() << " rows";
  CHECK_LE(static_cast<int>(batch.output_rows.size()), options_.output_rows_max);
  for (const int32_t id : batch.ids) CHECK(id >= 0 && id < config_.vocab_size) << "id " << id;
  for (const int32_t row : batch.output_rows) CHECK(row >= 0 && row < batch.rows());
}

void TextModelRunner::PrepareKind(const Batch& batch, bool sliding, LayerKind& kind) {
  const int rows = batch.rows();
  const int pairs = kind.rope.pairs;
  std::vector<int32_t> first(rows);
  std::vector<float> cosines(rows * pairs), sines(rows * pairs);
  for (int r = 0; r < rows; ++r) {
    const int32_t position = batch.position[r];
    first[r] = sliding ? std::max(0, position - config_.sliding_window_tokens + 1) : 0;
    for (int i = 0; i < pairs; ++i) {
      const float angle = static_cast<float>(position) * kind.inverse_frequencies[i];
      cosines[r * pairs + i] = std::cos(angle);
      sines[r * pairs + i] = std::sin(angle);
    }
  }
  size_t stride = 1;
  for (const PageTables* tables : batch.tables) {
    stride = std::max(stride, (sliding ? tables->sliding : tables->full).size());
  }
  std::vector<int32_t> page_tables(stride * batch.tables.size(), PageTables::kNoPage);
  for (size_t s = 0; s < batch.tables.size(); ++s) {
    const std::vector<int32_t>& pages = sliding ? batch.tables[s]->sliding : batch.tables[s]->full;
    std::copy(pages.begin(), pages.end(), page_tables.begin() + s * stride);
  }
  if (kind.pages_max < static_cast<int32_t>(page_tables.size())) {
    kind.pages_max = static_cast<int32_t>(page_tables.size());
    absl::StatusOr<DeviceBuffer> larger = AllocateArray<int32_t>(kind.pages_max);
    CHECK_OK(larger);
    kind.page_tables = *std::move(larger);
  }
  Upload(batch.position, kind.position);
  Upload(batch.sequence, kind.sequence);
  Upload(first, kind.first_key);
  Upload(batch.position, kind.last_key);
  Upload(page_tables, kind.page_tables);
  Upload(cosines, kind.cosines);
  Upload(sines, kind.sines);
  kind.rows = {rows,
               Ints(kind.position),
               Ints(kind.sequence),
               Ints(kind.first_key),
               Ints(kind.last_key),
               Ints(kind.page_tables),
               static_cast<int>(stride)};
  kind.rope = {Floats(kind.cosines), Floats(kind.sines), pairs};
}

// As transformers does before it looks up embeddings (Gemma4UnifiedModel.forward).
std::vector<int32_t> TextModelRunner::EmbeddedIds(const Batch& batch) const {
  std::vector<int32_t> ids = batch.ids;
  for (const int32_t placeholder : options_.placeholder_ids) {
    std::replace(ids.begin(), ids.end(), placeholder, options_.pad_id);
  }
  return ids;
}

absl::Span<const float> TextModelRunner::RunBlocking(const Batch& batch) {
  CheckBatch(batch);
  PrepareKind(batch, true, sliding_);
  PrepareKind(batch, false, full_);
  Upload(EmbeddedIds(batch), ids_);
  const int rows = batch.rows();
  const float embedding_scale = std::sqrt(static_cast<float>(config_.hidden_size));
  device_.EmbedTokens(weights_.embedding, Ints(ids_), rows, embedding_scale, Floats(hidden_));
  for (size_t i = 0; i < weights_.layers.size(); ++i) RunLayer(static_cast<int>(i), rows);
  RunHead(batch);
  return host_logits_;
}

void TextModelRunner::RunLayer(int index, int rows) {
  const LayerWeights& weights = weights_.layers[index];
  RunAttention(weights, index, rows);
  RunFeedForward(weights, rows);
}

void TextModelRunner::RunAttention(const LayerWeights& weights, int index, int rows) {
  const LayerConfig& layer = config_.layers[index];
  const LayerKind& kind = layer.sliding ? sliding_ : full_;
  device_.RmsNorm(Floats(hidden_), weights.attention_norm, rows, config_.hidden_size,
                  config_.rms_epsilon, Floats(normed_));
  device_.MatMul(Floats(normed_), weights.query, rows, Floats(query_));
  device_.MatMul(Floats(normed_), weights.key, rows, Floats(key_));
  const float* value = nullptr;
  if (layer.sliding) {
    device_.MatMul(Floats(normed_), weights.value, rows, Floats(value_));
    value = Floats(value_);
  }
  device_.NormRopeStore({Floats(query_), Floats(key_), value, weights.query_norm, weights.key_norm,
                         config_.query_heads, config_.rms_epsilon},
                        kind.rope, kind.rows, cache_.layer(index));
  device_.Attend(Floats(query_), config_.query_heads, kind.rows, cache_.layer(index),
                 Floats(attended_));
  device_.MatMul(Floats(attended_), weights.output, rows, Floats(update_));
  device_.AddNormed(Floats(hidden_), Floats(update_), weights.post_attention_norm, rows,
                    config_.hidden_size, config_.rms_epsilon, /*scale=*/1.0f);
}

void TextModelRunner::RunFeedForward(const LayerWeights& weights, int rows) {
  device_.RmsNorm(Floats(hidden_), weights.feed_forward_norm, rows, config_.hidden_size,
                  config_.rms_epsilon, Floats(normed_));
  device_.MatMul(Floats(normed_), weights.gate, rows, Floats(gate_));
  device_.MatMul(Floats(normed_), weights.up, rows, Floats(up_));
  device_.GeGlu(Floats(gate_), Floats(up_), int64_t{rows} * config_.feed_forward_size,
                Floats(gate_));
  device_.MatMul(Floats(gate_), weights.down, rows, Floats(update_));
  device_.AddNormed(Floats(hidden_), Floats(update_), weights.post_feed_forward_norm, rows,
                    config_.hidden_size, config_.rms_epsilon, weights.scale);
}

void TextModelRunner::RunHead(const Batch& batch) {
  const int outputs = static_cast<int>(batch.output_rows.size());
  host_logits_.resize(int64_t{outputs} * config_.vocab_size);
  if (outputs == 0) return;
  for (int i = 0; i < outputs; ++i) {
    const int64_t hidden = config_.hidden_size;
    device_.RmsNorm(Floats(hidden_) + batch.output_rows[i] * hidden, weights_.output_norm, 1,
                    config_.hidden_size, config_.rms_epsilon, Floats(outputs_) + i * hidden);
  }
  device_.MatMul(Floats(outputs_), weights_.embedding, outputs, Floats(logits_));
  if (config_.logit_softcap > 0) {
    device_.SoftCap(Floats(logits_), static_cast<int64_t>(host_logits_.size()),
                    config_.logit_softcap);
  }
  device_.CopyToHostBlocking(host_logits_.data(), logits_.get(),
                             static_cast<int64_t>(host_logits_.size() * sizeof(float)));
}

}  // namespace

absl::StatusOr<std::unique_ptr<ModelRunner>> ModelRunner::Make(const Weights* weights,
                                                               KvCache* cache, Device* device,
                                                               const ModelRunnerOptions& options) {
  auto runner = std::make_unique<TextModelRunner>(weights, cache, device, options);
  RETURN_IF_ERROR(runner->Allocate());
  return std::unique_ptr<ModelRunner>(std::move(runner));
}

}  // namespace facet
