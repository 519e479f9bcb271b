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

// The shape of a drafter for multi-token prediction (gemma4-assistant in llama.cpp,
// gemma4_unified_assistant in transformers). Its layers are a text decoder's without keys and
// values: they read the target's, of its last sliding and its last full layer.
struct AssistantConfig {
  TextConfig text;
  int target_hidden_size;
};

// Reads the keys "gemma4-assistant.*", and checks that the drafter fits `target`: the same
// vocabulary, window and context-free shapes of keys and values. Errors as of ReadTextConfig.
absl::StatusOr<AssistantConfig> ReadAssistantConfig(const Metadata& metadata,
                                                    const TextConfig& target);

}  // namespace facet

#endif  // FACET_MODEL_CONFIG_H_
