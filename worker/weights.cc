#include "worker/weights.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "worker/tensor_loader.h"

namespace facet {
namespace {

// `own_keys`: the layer computes keys and values; a drafter's does not.
absl::StatusOr<LayerWeights> LoadLayer(TensorLoader& loader, const ShardPlan& shard, int index,
                                       bool own_keys) {
  const TextConfig& config = shard.whole;
  const LayerConfig& layer = config.layers[index];
  const Slice query_part = shard.query_heads.Times(layer.head_dim);
  const Slice key_part = shard.kv_heads[index].Times(layer.head_dim);
  const int64_t hidden = config.hidden_size, feed_forward = config.feed_forward_size;
  const int64_t queries = int64_t{config.query_heads} * layer.head_dim;
  const int64_t keys = int64_t{layer.kv_heads} * layer.head_dim;
  const auto name = [index](absl::string_view part) {
    return absl::StrCat("blk.", index, ".", part, ".weight");
  };
  LayerWeights weights;
  ASSIGN_OR_RETURN(weights.attention_norm, loader.Vector(name("attn_norm"), hidden));
  ASSIGN_OR_RETURN(weights.post_attention_norm, loader.Vector(name("post_attention_norm"), hidden));
  ASSIGN_OR_RETURN(weights.feed_forward_norm, loader.Vector(name("ffn_norm"), hidden));
  ASSIGN_OR_RETURN(weights.post_feed_forward_norm, loader.Vector(name("post_ffw_norm"), hidden));
  ASSIGN_OR_RETURN(weights.query_norm, loader.Vector(name("attn_q_norm"), layer.head_dim));
  ASSIGN_OR_RETURN(weights.query, loader.MatrixRows(name("attn_q"), queries, hidden, query_part));
  weights.key_norm = nullptr;
  if (own_keys) {
    ASSIGN_OR_RETURN(weights.key_norm, loader.Vector(name("attn_k_norm"), layer.head_dim));
    ASSIGN_OR_RETURN(weights.key, loader.MatrixRows(name("attn_k"), keys, hidden, key_part));
  }
  if (own_keys && layer.sliding) {
    ASSIGN_OR_RETURN(weights.value, loader.MatrixRows(name("attn_v"), keys, hidden, key_part));
  }
  ASSIGN_OR_RETURN(weights.output,
                   loader.MatrixColumns(name("attn_output"), hidden, queries, query_part));
  ASSIGN_OR_RETURN(weights.gate,
                   loader.MatrixRows(name("ffn_gate"), feed_forward, hidden, shard.feed_forward));
  ASSIGN_OR_RETURN(weights.up,
                   loader.MatrixRows(name("ffn_up"), feed_forward, hidden, shard.feed_forward));
  ASSIGN_OR_RETURN(weights.down, loader.MatrixColumns(name("ffn_down"), hidden, feed_forward,
                                                      shard.feed_forward));
  ASSIGN_OR_RETURN(const std::vector<float> scale,
                   loader.HostVector(name("layer_output_scale"), 1));
  weights.scale = scale[0];
  return weights;
}

int FullHeadDim(const TextConfig& config) {
  for (const LayerConfig& layer : config.layers) {
    if (!layer.sliding) return layer.head_dim;
  }
  return 0;
}

// The rows of `weight` that `part` names, where they are.
Weight RowsOf(const Weight& weight, const Slice& part) {
  const auto* const data = static_cast<const uint8_t*>(weight.data);
  return {weight.type, part.size(), weight.columns,
          data + part.begin * RowBytes(weight.type, weight.columns)};
}

// Products sum in this many lanes, so they take whole rounds of columns.
constexpr int kLanes = 16;

// Where the matrices that are split by columns may be cut: the largest block among them.
int SplitBlockElements(const ModelFile& file) {
  int elements = kLanes;
  for (const Tensor& tensor : file.tensors()) {
    if (absl::EndsWith(tensor.name, ".attn_output.weight") ||
        absl::EndsWith(tensor.name, ".ffn_down.weight")) {
      elements = std::max(elements, InfoOf(tensor.type).block_elements);
    }
  }
  return elements;
}

// Loads the part of a decoder that weights.shard says.
absl::Status LoadDecoder(TensorLoader& loader, bool own_keys, Weights& weights) {
  weights.config = weights.shard.local;
  const TextConfig& config = weights.config;
  ASSIGN_OR_RETURN(weights.embedding,
                   loader.Matrix("token_embd.weight", config.vocab_size, config.hidden_size));
  ASSIGN_OR_RETURN(weights.output_norm, loader.Vector("output_norm.weight", config.hidden_size));
  if (const int head_dim = FullHeadDim(config); head_dim > 0) {
    ASSIGN_OR_RETURN(weights.rope_divisors, loader.HostVector("rope_freqs.weight", head_dim / 2));
  }
  for (size_t i = 0; i < config.layers.size(); ++i) {
    ASSIGN_OR_RETURN(LayerWeights layer,
                     LoadLayer(loader, weights.shard, static_cast<int>(i), own_keys));
    weights.layers.push_back(layer);
  }
  return absl::OkStatus();
}

}  // namespace

int FullRopePairs(const Weights& weights) {
  int pairs = 0;
  for (size_t i = 0; i < weights.rope_divisors.size(); ++i) {
    if (weights.rope_divisors[i] < 1e20f) pairs = static_cast<int>(i) + 1;
  }
  return pairs;
}

absl::StatusOr<Weights> LoadWeights(const ModelFile& file, Device& device, int rank, int size) {
  Weights weights;
  ASSIGN_OR_RETURN(const TextConfig config, ReadTextConfig(file.metadata()));
  ASSIGN_OR_RETURN(weights.shard, PlanShard(config, SplitBlockElements(file), size, rank));
  TensorLoader loader(file, device, weights.buffers);
  RETURN_IF_ERROR(LoadDecoder(loader, /*own_keys=*/true, weights));
  weights.head = RowsOf(weights.embedding, weights.shard.vocabulary);
  return weights;
}

absl::StatusOr<AssistantWeights> LoadAssistantWeights(const ModelFile& file,
                                                      const ShardPlan& target, Device& device) {
  AssistantWeights weights;
  absl::StatusOr<AssistantConfig> config = ReadAssistantConfig(file.metadata(), target.whole);
  if (!config.ok()) {
    return absl::Status(config.status().code(),
                        absl::StrCat(file.path(), ": ", config.status().message()));
  }
  absl::StatusOr<ShardPlan> shard =
      PlanShard(config->text, SplitBlockElements(file), target.size, target.rank);
  if (!shard.ok()) {
    return absl::Status(shard.status().code(),
                        absl::StrCat(file.path(), ": ", shard.status().message()));
  }
  weights.decoder.shard = *std::move(shard);
  TensorLoader loader(file, device, weights.decoder.buffers);
  RETURN_IF_ERROR(LoadDecoder(loader, /*own_keys=*/false, weights.decoder));
  weights.decoder.head = weights.decoder.embedding;
  const int64_t hidden = config->text.hidden_size;
  ASSIGN_OR_RETURN(weights.pre_projection, loader.Matrix("nextn.pre_projection.weight", hidden,
                                                         2 * config->target_hidden_size));
  ASSIGN_OR_RETURN(weights.post_projection, loader.Matrix("nextn.post_projection.weight",
                                                          config->target_hidden_size, hidden));
  return weights;
}

}  // namespace facet
