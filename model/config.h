#ifndef FACET_MODEL_CONFIG_H_
#define FACET_MODEL_CONFIG_H_

#include <vector>

#include "absl/status/statusor.h"
#include "model/metadata.h"

namespace facet {

// One decoder layer. Five of six layers are sliding; the sixth sees the whole context.
struct LayerConfig {
  bool sliding;
  int kv_heads;
  int head_dim;
};

// The shape of a Gemma 4 text decoder (design: gemma4 in llama.cpp, gemma4_unified_text in
// transformers). On full layers keys and values come from one projection.
struct TextConfig {
  int vocab_size;
  int hidden_size;
  int feed_forward_size;
  int query_heads;
  int context_tokens_max;
  int sliding_window_tokens;  // a query sees itself and this many - 1 keys before it
  float rms_epsilon;
  float logit_softcap;  // 0: none
  float rope_theta_sliding;
  float rope_theta_full;
  std::vector<LayerConfig> layers;
};

// Reads the keys "gemma4.*". NOT_FOUND or INVALID_ARGUMENT names the key that is missing, out of
// range, or that asks for what Facet does not run (shared KV, per-layer embeddings).
absl::StatusOr<TextConfig> ReadTextConfig(const Metadata& metadata);

}  // namespace facet

#endif  // FACET_MODEL_CONFIG_H_
