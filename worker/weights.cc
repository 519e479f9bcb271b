#include "worker/weights.h"

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "worker/tensor_loader.h"

namespace facet {
namespace {

// `own_keys`: the layer computes keys and values; a drafter's does not.
absl::StatusOr<LayerWeights> LoadLayer(TensorLoader& loader, const TextConfig& config, int index,
                                       bool own_keys) {
  const LayerConfig& layer = config.layers[index];
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
  ASSIGN_OR_RETURN(weights.query, loader.Matrix(name("attn_q"), queries, hidden));
  weights.key_norm = nullptr;
  if (own_keys) {
    ASSIGN_OR_RETURN(weights.key_norm, loader.Vector(name("attn_k_norm"), layer.head_dim));
    ASSIGN_OR_RETURN(weights.key, loader.Matrix(name("attn_k"), keys, hidden));
  }
  if (own_keys && layer.sliding) {
    ASSIGN_OR_RETURN(weights.value, loader.Matrix(name("attn_v"), keys, hidden));
  }
  ASSIGN_OR_RETURN(weights.output, loader.Matrix(name("attn_output"), hidden, queries));
  ASSIGN_OR_RETURN(weights.gate, loader.Matrix(name("ffn_gate"), feed_forward, hidden));
  ASSIGN_OR_RETURN(weights.up, loader.Matrix(name("ffn_up"), feed_forward, hidden));
  ASSIGN_OR_RETURN(weights.down, loader.Matrix(name("ffn_down"), hidden, feed_forward));
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

absl::Status LoadDecoder(TensorLoader& loader, bool own_keys, Weights& weights) {
  const TextConfig& config = weights.config;
  ASSIGN_OR_RETURN(weights.embedding,
                   loader.Matrix("token_embd.weight", config.vocab_size, config.hidden_size));
  ASSIGN_OR_RETURN(weights.output_norm, loader.Vector("output_norm.weight", config.hidden_size));
  if (const int head_dim = FullHeadDim(config); head_dim > 0) {
    ASSIGN_OR_RETURN(weights.rope_divisors, loader.HostVector("rope_freqs.weight", head_dim / 2));
  }
  for (size_t i = 0; i < config.layers.size(); ++i) {
    ASSIGN_OR_RETURN(LayerWeights layer, LoadLayer(loader, config, static_cast<int>(i), own_keys));
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

absl::StatusOr<Weights> LoadWeights(const ModelFile& file, Device& device) {
  Weights weights;
  ASSIGN_OR_RETURN(weights.config, ReadTextConfig(file.metadata()));
  TensorLoader loader(file, device, weights.buffers);
  RETURN_IF_ERROR(LoadDecoder(loader, /*own_keys=*/true, weights));
  return weights;
}

absl::StatusOr<AssistantWeights> LoadAssistantWeights(const ModelFile& file,
                                                      const TextConfig& target, Device& device) {
  AssistantWeights weights;
  absl::StatusOr<AssistantConfig> config = ReadAssistantConfig(file.metadata(), target);
  if (!config.ok()) {
    return absl::Status(config.status().code(),
                        absl::StrCat(file.path(), ": ", config.status().message()));
  }
  weights.decoder.config = config->text;
  TensorLoader loader(file, device, weights.decoder.buffers);
  RETURN_IF_ERROR(LoadDecoder(loader, /*own_keys=*/false, weights.decoder));
  const int64_t hidden = config->text.hidden_size;
  ASSIGN_OR_RETURN(weights.pre_projection, loader.Matrix("nextn.pre_projection.weight", hidden,
                                                         2 * config->target_hidden_size));
  ASSIGN_OR_RETURN(weights.post_projection, loader.Matrix("nextn.post_projection.weight",
                                                          config->target_hidden_size, hidden));
  return weights;
}

}  // namespace facet
