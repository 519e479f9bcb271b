#include "worker/model_runner.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/status_macros.h"
#include "worker/adapter_rows.h"
#include "worker/attention_rows.h"
#include "worker/decoder.h"
#include "worker/device_array.h"
#include "worker/split_head.h"

namespace facet {
namespace {

class TextModelRunner final : public ModelRunner {
 public:
  TextModelRunner(const Weights* weights, KvCache* cache, Device* device, DeviceGroup* group,
                  MediaEmbedder* embedder, const ModelRunnerOptions& options, AttentionRows full,
                  AttentionRows sliding, AdapterRows adapters, Decoder decoder)
      : weights_(*weights),
        config_(weights->config),
        cache_(*cache),
        device_(*device),
        group_(*group),
        embedder_(embedder),
        options_(options),
        full_(std::move(full)),
        sliding_(std::move(sliding)),
        adapters_(std::move(adapters)),
        decoder_(std::move(decoder)) {}

  absl::Status Allocate();
  absl::Span<const float> RunBlocking(const Batch& batch) override;
  const float* output_states() const override { return outputs_.data(); }
  const ModelRunnerOptions& options() const override { return options_; }

 private:
  void CheckBatch(const Batch& batch) const;
  void PrepareAttention(const Batch& batch);
  std::vector<int32_t> EmbeddedIds(const Batch& batch) const;
  void EmbedMedia(const Batch& batch);
  absl::Span<const float> RunHeadBlocking(const Batch& batch);

  const Weights& weights_;
  const TextConfig& config_;
  KvCache& cache_;
  Device& device_;
  DeviceGroup& group_;
  MediaEmbedder* const embedder_;  // or null
  const ModelRunnerOptions options_;

  AttentionRows full_, sliding_;
  AdapterRows adapters_;
  Decoder decoder_;
  DeviceArray<int32_t> ids_;               // [rows_max]
  DeviceArray<int32_t> output_ids_;        // [output_rows_max], the rows whose logits are wanted
  DeviceArray<float> outputs_;             // [output_rows_max, H]
  DeviceArray<float> logits_;              // [output_rows_max, this rank's part of the vocabulary]
  std::unique_ptr<SplitHead> split_head_;  // null in a group of one
};

absl::Status TextModelRunner::Allocate() {
  const int64_t outputs = options_.output_rows_max;
  ASSIGN_OR_RETURN(ids_, DeviceArray<int32_t>::Make(device_, options_.rows_max));
  ASSIGN_OR_RETURN(output_ids_, DeviceArray<int32_t>::Make(device_, outputs));
  ASSIGN_OR_RETURN(outputs_, DeviceArray<float>::Make(device_, outputs * config_.hidden_size));
  ASSIGN_OR_RETURN(logits_, DeviceArray<float>::Make(device_, outputs * weights_.head.rows));
  if (group_.size() > 1) {
    split_head_ =
        std::make_unique<SplitHead>(&group_, config_.vocab_size, options_.output_rows_max);
  }
  return absl::OkStatus();
}

void TextModelRunner::CheckBatch(const Batch& batch) const {
  CHECK(batch.rows() >= 1 && batch.rows() <= options_.rows_max) << batch.rows() << " rows";
  CHECK_LE(static_cast<int>(batch.output_rows.size()), options_.output_rows_max);
  for (const int32_t id : batch.ids) CHECK(id >= 0 && id < config_.vocab_size) << "id " << id;
  CHECK(batch.media.empty() || embedder_ != nullptr || group_.rank() != 0);
  CHECK(batch.best_counts.empty() || batch.best_counts.size() == batch.output_rows.size());
  for (const int32_t row : batch.output_rows) CHECK(row >= 0 && row < batch.rows());
}

void TextModelRunner::PrepareAttention(const Batch& batch) {
  const std::vector<int32_t> beginning(batch.rows(), 0);
  full_.Set({batch.position, batch.sequence, beginning, batch.position, batch.tables});
  std::vector<int32_t> window = batch.position;
  for (int32_t& first : window) first = std::max(0, first - config_.sliding_window_tokens + 1);
  // Inside an image each token sees the whole image; full layers are causal there too, as
  // transformers' static-cache generate has it.
  sliding_.Set({batch.position, batch.sequence, window, batch.last_visible, batch.tables});
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
  PrepareAttention(batch);
  adapters_.Set(batch);
  ids_.Upload(EmbeddedIds(batch));
  const int rows = batch.rows();
  const float embedding_scale = std::sqrt(static_cast<float>(config_.hidden_size));
  device_.EmbedTokens(weights_.embedding, ids_.data(), rows, embedding_scale, decoder_.hidden());
  EmbedMedia(batch);
  for (size_t i = 0; i < weights_.layers.size(); ++i) {
    const LayerConfig& layer = config_.layers[i];
    decoder_.RunLayer(weights_.layers[i], layer, layer.sliding ? sliding_ : full_,
                      cache_.layer(static_cast<int>(i)), rows, {&adapters_, static_cast<int>(i)});
  }
  return RunHeadBlocking(batch);
}

// By rank 0 alone, since the results are smaller than what they are made from.
void TextModelRunner::EmbedMedia(const Batch& batch) {
  if (batch.media.empty()) return;
  if (group_.rank() == 0) embedder_->Embed(batch.media, decoder_.hidden());
  const int64_t hidden = config_.hidden_size;
  for (const MediaToken& token : batch.media) {
    group_.Broadcast(decoder_.hidden() + token.row * hidden, hidden);
  }
}

absl::Span<const float> TextModelRunner::RunHeadBlocking(const Batch& batch) {
  const int outputs = static_cast<int>(batch.output_rows.size());
  if (outputs == 0) return {};
  output_ids_.Upload(batch.output_rows);
  device_.GatherRows(decoder_.hidden(), output_ids_.data(), outputs, config_.hidden_size,
                     outputs_.data(), config_.hidden_size);
  device_.RmsNorm(outputs_.data(), weights_.output_norm, outputs, config_.hidden_size,
                  config_.rms_epsilon, outputs_.data());
  device_.MatMul(outputs_.data(), weights_.head, outputs, logits_.data());
  const int64_t elements = outputs * weights_.head.rows;
  if (config_.logit_softcap > 0) {
    device_.SoftCap(logits_.data(), elements, config_.logit_softcap);
  }
  const float* const logits = device_.ReadBlocking(logits_.data(), elements);
  if (split_head_ == nullptr) return {logits, static_cast<size_t>(elements)};
  if (!batch.best_counts.empty()) return split_head_->Join(logits, batch.best_counts);
  return split_head_->Join(logits, std::vector<int32_t>(outputs, 0));
}

}  // namespace

absl::StatusOr<std::unique_ptr<ModelRunner>> ModelRunner::Make(const Weights* weights,
                                                               KvCache* cache, Device* device,
                                                               DeviceGroup* group,
                                                               MediaEmbedder* embedder,
                                                               const ModelRunnerOptions& options) {
  ASSIGN_OR_RETURN(AttentionRows full,
                   AttentionRows::Make(*weights, /*sliding=*/false, options.rows_max, device));
  ASSIGN_OR_RETURN(AttentionRows sliding,
                   AttentionRows::Make(*weights, /*sliding=*/true, options.rows_max, device));
  ASSIGN_OR_RETURN(AdapterRows adapters,
                   AdapterRows::Make(weights->config, options.rows_max, device));
  ASSIGN_OR_RETURN(Decoder decoder,
                   Decoder::Make(weights->config, options.rows_max, device, group));
  auto runner = std::make_unique<TextModelRunner>(weights, cache, device, group, embedder, options,
                                                  std::move(full), std::move(sliding),
                                                  std::move(adapters), std::move(decoder));
  RETURN_IF_ERROR(runner->Allocate());
  return std::unique_ptr<ModelRunner>(std::move(runner));
}

}  // namespace facet
