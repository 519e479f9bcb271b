#include "worker/model_runner.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/status_macros.h"
#include "worker/attention_rows.h"
#include "worker/decoder.h"

namespace facet {
namespace {

class TextModelRunner final : public ModelRunner {
 public:
  TextModelRunner(const Weights* weights, KvCache* cache, Device* device, MediaEmbedder* embedder,
                  const ModelRunnerOptions& options, AttentionRows full, AttentionRows sliding,
                  Decoder decoder)
      : weights_(*weights),
        config_(weights->config),
        cache_(*cache),
        device_(*device),
        embedder_(embedder),
        options_(options),
        full_(std::move(full)),
        sliding_(std::move(sliding)),
        decoder_(std::move(decoder)) {}

  absl::Status Allocate();
  absl::Span<const float> RunBlocking(const Batch& batch) override;
  const float* output_states() const override { return Floats(outputs_); }
  const ModelRunnerOptions& options() const override { return options_; }

 private:
  void CheckBatch(const Batch& batch) const;
  void PrepareAttention(const Batch& batch);
  std::vector<int32_t> EmbeddedIds(const Batch& batch) const;
  absl::Span<const float> RunHeadBlocking(const Batch& batch);

  absl::StatusOr<DeviceBuffer> AllocateWords(int64_t words) { return device_.Allocate(4 * words); }
  void Upload(absl::Span<const int32_t> values, const DeviceBuffer& buffer) {
    device_.CopyToDevice(buffer.get(), values.data(),
                         static_cast<int64_t>(values.size() * sizeof(int32_t)));
  }
  static float* Floats(const DeviceBuffer& buffer) { return static_cast<float*>(buffer.get()); }
  static int32_t* Ints(const DeviceBuffer& buffer) { return static_cast<int32_t*>(buffer.get()); }

  const Weights& weights_;
  const TextConfig& config_;
  KvCache& cache_;
  Device& device_;
  MediaEmbedder* const embedder_;  // or null
  const ModelRunnerOptions options_;

  AttentionRows full_, sliding_;
  Decoder decoder_;
  DeviceBuffer ids_;         // [rows_max]
  DeviceBuffer output_ids_;  // [output_rows_max], the rows whose logits are wanted
  DeviceBuffer outputs_;     // [output_rows_max, H]
  DeviceBuffer logits_;      // [output_rows_max, vocabulary]
};

absl::Status TextModelRunner::Allocate() {
  const int64_t outputs = options_.output_rows_max;
  ASSIGN_OR_RETURN(ids_, AllocateWords(options_.rows_max));
  ASSIGN_OR_RETURN(output_ids_, AllocateWords(outputs));
  ASSIGN_OR_RETURN(outputs_, AllocateWords(outputs * config_.hidden_size));
  ASSIGN_OR_RETURN(logits_, AllocateWords(outputs * config_.vocab_size));
  return absl::OkStatus();
}

void TextModelRunner::CheckBatch(const Batch& batch) const {
  CHECK(batch.rows() >= 1 && batch.rows() <= options_.rows_max) << batch.rows() << " rows";
  CHECK_LE(static_cast<int>(batch.output_rows.size()), options_.output_rows_max);
  for (const int32_t id : batch.ids) CHECK(id >= 0 && id < config_.vocab_size) << "id " << id;
  CHECK(batch.media.empty() || embedder_ != nullptr);
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
  Upload(EmbeddedIds(batch), ids_);
  const int rows = batch.rows();
  const float embedding_scale = std::sqrt(static_cast<float>(config_.hidden_size));
  device_.EmbedTokens(weights_.embedding, Ints(ids_), rows, embedding_scale, decoder_.hidden());
  if (!batch.media.empty()) embedder_->Embed(batch.media, decoder_.hidden());
  for (size_t i = 0; i < weights_.layers.size(); ++i) {
    const LayerConfig& layer = config_.layers[i];
    decoder_.RunLayer(weights_.layers[i], layer, layer.sliding ? sliding_ : full_,
                      cache_.layer(static_cast<int>(i)), rows);
  }
  return RunHeadBlocking(batch);
}

absl::Span<const float> TextModelRunner::RunHeadBlocking(const Batch& batch) {
  const int outputs = static_cast<int>(batch.output_rows.size());
  if (outputs == 0) return {};
  Upload(batch.output_rows, output_ids_);
  device_.GatherRows(decoder_.hidden(), Ints(output_ids_), outputs, config_.hidden_size,
                     Floats(outputs_), config_.hidden_size);
  device_.RmsNorm(Floats(outputs_), weights_.output_norm, outputs, config_.hidden_size,
                  config_.rms_epsilon, Floats(outputs_));
  device_.MatMul(Floats(outputs_), weights_.embedding, outputs, Floats(logits_));
  const int64_t elements = int64_t{outputs} * config_.vocab_size;
  if (config_.logit_softcap > 0) {
    device_.SoftCap(Floats(logits_), elements, config_.logit_softcap);
  }
  return {device_.ReadBlocking(Floats(logits_), elements), static_cast<size_t>(elements)};
}

}  // namespace

absl::StatusOr<std::unique_ptr<ModelRunner>> ModelRunner::Make(const Weights* weights,
                                                               KvCache* cache, Device* device,
                                                               MediaEmbedder* embedder,
                                                               const ModelRunnerOptions& options) {
  ASSIGN_OR_RETURN(AttentionRows full,
                   AttentionRows::Make(*weights, /*sliding=*/false, options.rows_max, device));
  ASSIGN_OR_RETURN(AttentionRows sliding,
                   AttentionRows::Make(*weights, /*sliding=*/true, options.rows_max, device));
  ASSIGN_OR_RETURN(Decoder decoder, Decoder::Make(weights->config, options.rows_max, device));
  auto runner =
      std::make_unique<TextModelRunner>(weights, cache, device, embedder, options, std::move(full),
                                        std::move(sliding), std::move(decoder));
  RETURN_IF_ERROR(runner->Allocate());
  return std::unique_ptr<ModelRunner>(std::move(runner));
}

}  // namespace facet
