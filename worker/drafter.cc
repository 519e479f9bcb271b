#include "worker/drafter.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/check.h"
#include "base/status_macros.h"
#include "worker/attention_rows.h"
#include "worker/decoder.h"
#include "worker/device_array.h"

namespace facet {
namespace {

// The last layer of each kind: the one whose keys and values a drafter's layers of that kind read.
int LastLayer(const TextConfig& config, bool sliding) {
  for (int i = static_cast<int>(config.layers.size()); i-- > 0;) {
    if (config.layers[i].sliding == sliding) return i;
  }
  return -1;
}

class AssistantDrafter final : public Drafter {
 public:
  AssistantDrafter(const AssistantWeights* weights, const Weights* target, KvCache* cache,
                   Device* device, const DrafterOptions& options, AttentionRows full,
                   AttentionRows sliding, Decoder decoder)
      : weights_(*weights),
        target_(*target),
        cache_(*cache),
        device_(*device),
        options_(options),
        full_(std::move(full)),
        sliding_(std::move(sliding)),
        decoder_(std::move(decoder)) {}

  absl::Status Allocate();
  std::vector<int32_t> DraftBlocking(absl::Span<const Row> rows, const float* states, int count,
                                     Trace* trace) override;
  const DrafterOptions& options() const override { return options_; }

 private:
  void Prepare(absl::Span<const Row> rows, const float* states);
  // From newest_ and states_ to the next of both.
  void DraftOne(int rows);
  void AddTo(Trace& trace, int rows) const;

  const AssistantWeights& weights_;
  const Weights& target_;
  KvCache& cache_;
  Device& device_;
  const DrafterOptions options_;

  AttentionRows full_, sliding_;
  Decoder decoder_;
  DeviceArray<int32_t> newest_;      // [rows_max]: the tokens that the next drafts follow
  DeviceArray<int32_t> state_rows_;  // [rows_max]
  DeviceArray<int32_t> suppressed_;  // [suppressed_ids]
  DeviceArray<float> embedded_;      // [rows_max, T], T the target's hidden size
  DeviceArray<float> states_;        // [rows_max, T]
  DeviceArray<float> joined_;        // [rows_max, 2 T]
  DeviceArray<float> normed_;        // [rows_max, H]
  DeviceArray<float> logits_;        // [rows_max, vocabulary]
};

absl::Status AssistantDrafter::Allocate() {
  const int64_t rows = options_.rows_max;
  const int64_t target_hidden = target_.config.hidden_size;
  ASSIGN_OR_RETURN(newest_, DeviceArray<int32_t>::Make(device_, rows));
  ASSIGN_OR_RETURN(state_rows_, DeviceArray<int32_t>::Make(device_, rows));
  ASSIGN_OR_RETURN(suppressed_, DeviceArray<int32_t>::Make(
                                    device_, static_cast<int64_t>(options_.suppressed_ids.size())));
  suppressed_.Upload(options_.suppressed_ids);
  ASSIGN_OR_RETURN(embedded_, DeviceArray<float>::Make(device_, rows * target_hidden));
  ASSIGN_OR_RETURN(states_, DeviceArray<float>::Make(device_, rows * target_hidden));
  ASSIGN_OR_RETURN(joined_, DeviceArray<float>::Make(device_, rows * target_hidden * 2));
  ASSIGN_OR_RETURN(normed_,
                   DeviceArray<float>::Make(device_, rows * weights_.decoder.config.hidden_size));
  ASSIGN_OR_RETURN(logits_,
                   DeviceArray<float>::Make(device_, rows * weights_.decoder.config.vocab_size));
  return absl::OkStatus();
}

void AssistantDrafter::Prepare(absl::Span<const Row> rows, const float* states) {
  std::vector<int32_t> newest, state_rows, position, sequence, beginning, window, last;
  std::vector<const PageTables*> tables;
  for (const Row& row : rows) {
    CHECK_GT(row.position, 0);
    newest.push_back(row.newest);
    state_rows.push_back(row.state_row);
    position.push_back(row.position);
    sequence.push_back(static_cast<int32_t>(tables.size()));
    tables.push_back(row.pages);
    // The newest token has no key yet. On sliding layers transformers lets the drafter see one key
    // more than the target would: positions p - 1 - window to p - 1.
    beginning.push_back(0);
    window.push_back(std::max(0, row.position - 1 - target_.config.sliding_window_tokens));
    last.push_back(row.position - 1);
  }
  full_.Set({position, sequence, beginning, last, tables});
  sliding_.Set({position, sequence, window, last, tables});
  newest_.Upload(newest);
  state_rows_.Upload(state_rows);
  const int target_hidden = target_.config.hidden_size;
  device_.GatherRows(states, state_rows_.data(), static_cast<int>(rows.size()), target_hidden,
                     states_.data(), target_hidden);
}

void AssistantDrafter::DraftOne(int rows) {
  const TextConfig& config = weights_.decoder.config;
  const int target_hidden = target_.config.hidden_size;
  device_.EmbedTokens(target_.embedding, newest_.data(), rows,
                      std::sqrt(static_cast<float>(target_hidden)), embedded_.data());
  device_.GatherRows(embedded_.data(), nullptr, rows, target_hidden, joined_.data(),
                     2 * target_hidden);
  device_.GatherRows(states_.data(), nullptr, rows, target_hidden, joined_.data() + target_hidden,
                     2 * target_hidden);
  device_.MatMul(joined_.data(), weights_.pre_projection, rows, decoder_.hidden());
  for (size_t i = 0; i < config.layers.size(); ++i) {
    const LayerConfig& layer = config.layers[i];
    decoder_.RunLayer(weights_.decoder.layers[i], layer, layer.sliding ? sliding_ : full_,
                      cache_.layer(LastLayer(target_.config, layer.sliding)), rows,
                      /*change=*/{});
  }
  device_.RmsNorm(decoder_.hidden(), weights_.decoder.output_norm, rows, config.hidden_size,
                  config.rms_epsilon, normed_.data());
  device_.MatMul(normed_.data(), weights_.decoder.head, rows, logits_.data());
  device_.MatMul(normed_.data(), weights_.post_projection, rows, states_.data());
  device_.ArgMax(logits_.data(), rows, config.vocab_size, suppressed_.data(),
                 static_cast<int>(options_.suppressed_ids.size()), newest_.data());
}

void AssistantDrafter::AddTo(Trace& trace, int rows) const {
  const auto read = [&](const DeviceArray<float>& array, int64_t columns) {
    std::vector<float> values(rows * columns);
    device_.CopyToHostBlocking(values.data(), array.data(),
                               static_cast<int64_t>(values.size() * sizeof(float)));
    return values;
  };
  trace.logits.push_back(read(logits_, weights_.decoder.config.vocab_size));
  trace.states.push_back(read(states_, target_.config.hidden_size));
}

std::vector<int32_t> AssistantDrafter::DraftBlocking(absl::Span<const Row> rows,
                                                     const float* states, int count, Trace* trace) {
  const int row_count = static_cast<int>(rows.size());
  CHECK(row_count >= 1 && row_count <= options_.rows_max) << row_count << " rows";
  CHECK(count >= 1 && count <= options_.drafts_max) << count << " drafts";
  Prepare(rows, states);
  std::vector<int32_t> drafts(row_count * count), column(row_count);
  for (int i = 0; i < count; ++i) {
    DraftOne(row_count);
    device_.CopyToHostBlocking(column.data(), newest_.data(),
                               static_cast<int64_t>(column.size() * sizeof(int32_t)));
    for (int r = 0; r < row_count; ++r) drafts[r * count + i] = column[r];
    if (trace != nullptr) AddTo(*trace, row_count);
  }
  return drafts;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Drafter>> Drafter::Make(const AssistantWeights* weights,
                                                       const Weights* target, KvCache* cache,
                                                       Device* device, DeviceGroup* group,
                                                       const DrafterOptions& options) {
  const Weights& decoder = weights->decoder;
  ASSIGN_OR_RETURN(AttentionRows full,
                   AttentionRows::Make(decoder, /*sliding=*/false, options.rows_max, device));
  ASSIGN_OR_RETURN(AttentionRows sliding,
                   AttentionRows::Make(decoder, /*sliding=*/true, options.rows_max, device));
  ASSIGN_OR_RETURN(Decoder layers, Decoder::Make(decoder.config, options.rows_max, device, group));
  auto drafter =
      std::make_unique<AssistantDrafter>(weights, target, cache, device, options, std::move(full),
                                         std::move(sliding), std::move(layers));
  RETURN_IF_ERROR(drafter->Allocate());
  return std::unique_ptr<Drafter>(std::move(drafter));
}

}  // namespace facet
