#include "model/config.h"

#include <cstdint>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace facet {
namespace {

// Bounds that no Gemma 4 comes near; they keep sizes derived from them inside 64 bits.
constexpr int64_t kSizeMax = 1 << 20;
constexpr int64_t kVocabularyMax = 1 << 22;
constexpr int64_t kContextMax = 1 << 24;
constexpr int64_t kLayersMax = 1024;
constexpr int64_t kHeadDimMax = 1024;

// The keys of one architecture, "gemma4." or "gemma4-assistant.", and errors that name them.
class Keys {
 public:
  Keys(const Metadata& metadata, std::string prefix)
      : metadata_(metadata), prefix_(std::move(prefix)) {}

  const Metadata& metadata() const { return metadata_; }
  std::string Name(absl::string_view key) const { return absl::StrCat(prefix_, key); }
  bool Has(absl::string_view key) const { return metadata_.Has(Name(key)); }

  absl::Status Error(absl::string_view key, absl::string_view what) const {
    return absl::InvalidArgumentError(absl::StrCat("metadata key '", Name(key), "' ", what));
  }

  absl::StatusOr<int> Int(absl::string_view key, int64_t max) const {
    ASSIGN_OR_RETURN(const int64_t value, metadata_.GetInt(Name(key)));
    if (value < 1 || value > max) {
      return Error(key, absl::StrCat("is ", value, ", not in [1, ", max, "]"));
    }
    return static_cast<int>(value);
  }

  absl::StatusOr<float> Positive(absl::string_view key) const {
    ASSIGN_OR_RETURN(const double value, metadata_.GetFloat(Name(key)));
    if (!(value > 0 && value < 1e12)) {
      return Error(key, absl::StrCat("is ", value, ", not positive"));
    }
    return static_cast<float>(value);
  }

  // A key that holds either one number for all layers or one for each.
  absl::StatusOr<std::vector<int64_t>> PerLayer(absl::string_view key, size_t layers,
                                                int64_t max) const {
    std::vector<int64_t> values;
    if (absl::StatusOr<int64_t> one = metadata_.GetInt(Name(key)); one.ok()) {
      values.assign(layers, *one);
    } else {
      ASSIGN_OR_RETURN(values, metadata_.GetInts(Name(key)));
    }
    if (values.size() != layers) {
      return Error(key, absl::StrCat("has ", values.size(), " entries for ", layers, " layers"));
    }
    for (const int64_t value : values) {
      if (value < 1 || value > max) {
        return Error(key, absl::StrCat("holds ", value, ", not in [1, ", max, "]"));
      }
    }
    return values;
  }

  absl::Status ExpectZero(absl::string_view key) const {
    if (!Has(key)) return absl::OkStatus();
    ASSIGN_OR_RETURN(const int64_t value, metadata_.GetInt(Name(key)));
    if (value == 0) return absl::OkStatus();
    return Error(key, absl::StrCat("is ", value, ": Facet serves models where it is 0"));
  }

 private:
  const Metadata& metadata_;
  const std::string prefix_;
};

absl::Status ExpectArchitecture(const Metadata& metadata, absl::string_view expected) {
  ASSIGN_OR_RETURN(const absl::string_view architecture,
                   metadata.GetString("general.architecture"));
  if (architecture == expected) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("metadata key 'general.architecture' is '",
                                                 architecture, "', Facet serves ", expected,
                                                 expected == "gemma4" ? "" : " as --assistant"));
}

absl::StatusOr<std::vector<LayerConfig>> ReadLayers(const Keys& keys, int query_heads) {
  ASSIGN_OR_RETURN(const int count, keys.Int("block_count", kLayersMax));
  const absl::string_view pattern_key = "attention.sliding_window_pattern";
  ASSIGN_OR_RETURN(const std::vector<bool> sliding,
                   keys.metadata().GetBools(keys.Name(pattern_key)));
  if (sliding.size() != static_cast<size_t>(count)) {
    return keys.Error(pattern_key,
                      absl::StrCat("has ", sliding.size(), " entries for ", count, " layers"));
  }
  const absl::string_view heads_key = "attention.head_count_kv";
  ASSIGN_OR_RETURN(const std::vector<int64_t> kv_heads,
                   keys.PerLayer(heads_key, count, query_heads));
  ASSIGN_OR_RETURN(const int full_dim, keys.Int("attention.key_length", kHeadDimMax));
  ASSIGN_OR_RETURN(const int sliding_dim, keys.Int("attention.key_length_swa", kHeadDimMax));
  std::vector<LayerConfig> layers;
  for (int i = 0; i < count; ++i) {
    layers.push_back(
        {sliding[i], static_cast<int>(kv_heads[i]), sliding[i] ? sliding_dim : full_dim});
    if (query_heads % kv_heads[i] != 0) {
      return keys.Error(heads_key,
                        absl::StrCat("holds ", kv_heads[i], ", which does not divide the ",
                                     query_heads, " query heads"));
    }
    // 16 is the vector width that kernels split a head into.
    if (layers[i].head_dim % 16 != 0) {
      return keys.Error(sliding[i] ? "attention.key_length_swa" : "attention.key_length",
                        absl::StrCat("is ", layers[i].head_dim, ", no multiple of 16"));
    }
  }
  return layers;
}

absl::StatusOr<int> ReadVocabularySize(const Keys& keys) {
  if (keys.Has("vocab_size")) return keys.Int("vocab_size", kVocabularyMax);
  ASSIGN_OR_RETURN(const std::vector<std::string>* tokens,
                   keys.metadata().GetStrings("tokenizer.ggml.tokens"));
  if (tokens->empty() || static_cast<int64_t>(tokens->size()) > kVocabularyMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("metadata key 'tokenizer.ggml.tokens' has ", tokens->size(), " entries"));
  }
  return static_cast<int>(tokens->size());
}

absl::StatusOr<TextConfig> ReadShape(const Keys& keys) {
  for (const absl::string_view key : {"embedding_length_per_layer_input", "expert_count"}) {
    RETURN_IF_ERROR(keys.ExpectZero(key));
  }
  TextConfig config;
  ASSIGN_OR_RETURN(config.vocab_size, ReadVocabularySize(keys));
  ASSIGN_OR_RETURN(config.hidden_size, keys.Int("embedding_length", kSizeMax));
  ASSIGN_OR_RETURN(config.query_heads, keys.Int("attention.head_count", kSizeMax));
  ASSIGN_OR_RETURN(config.context_tokens_max, keys.Int("context_length", kContextMax));
  ASSIGN_OR_RETURN(config.sliding_window_tokens, keys.Int("attention.sliding_window", kContextMax));
  ASSIGN_OR_RETURN(config.rms_epsilon, keys.Positive("attention.layer_norm_rms_epsilon"));
  ASSIGN_OR_RETURN(config.rope_theta_full, keys.Positive("rope.freq_base"));
  ASSIGN_OR_RETURN(config.rope_theta_sliding, keys.Positive("rope.freq_base_swa"));
  config.logit_softcap = 0;
  if (keys.Has("final_logit_softcapping")) {
    ASSIGN_OR_RETURN(config.logit_softcap, keys.Positive("final_logit_softcapping"));
  }
  ASSIGN_OR_RETURN(config.layers, ReadLayers(keys, config.query_heads));
  const absl::string_view feed_forward = "feed_forward_length";
  ASSIGN_OR_RETURN(const std::vector<int64_t> sizes,
                   keys.PerLayer(feed_forward, config.layers.size(), kSizeMax));
  for (const int64_t size : sizes) {
    if (size != sizes[0]) return keys.Error(feed_forward, "differs between layers");
  }
  config.feed_forward_size = static_cast<int>(sizes[0]);
  if (config.hidden_size % 16 != 0) return keys.Error("embedding_length", "is no multiple of 16");
  if (config.feed_forward_size % 16 != 0) return keys.Error(feed_forward, "is no multiple of 16");
  return config;
}

// Null if there is none.
const LayerConfig* LastLayer(const TextConfig& config, bool sliding) {
  const LayerConfig* last = nullptr;
  for (const LayerConfig& layer : config.layers) {
    if (layer.sliding == sliding) last = &layer;
  }
  return last;
}

}  // namespace

absl::StatusOr<TextConfig> ReadTextConfig(const Metadata& metadata) {
  RETURN_IF_ERROR(ExpectArchitecture(metadata, "gemma4"));
  const Keys keys(metadata, "gemma4.");
  RETURN_IF_ERROR(keys.ExpectZero("attention.shared_kv_layers"));
  return ReadShape(keys);
}

absl::StatusOr<AssistantConfig> ReadAssistantConfig(const Metadata& metadata,
                                                    const TextConfig& target) {
  RETURN_IF_ERROR(ExpectArchitecture(metadata, "gemma4-assistant"));
  const Keys keys(metadata, "gemma4-assistant.");
  AssistantConfig config;
  ASSIGN_OR_RETURN(config.text, ReadShape(keys));
  ASSIGN_OR_RETURN(config.target_hidden_size, keys.Int("embedding_length_out", kSizeMax));
  const auto differs = [&](absl::string_view key, int64_t own, int64_t wanted) {
    return keys.Error(key, absl::StrCat("is ", own, ", the model that it drafts for has ", wanted));
  };
  const TextConfig& text = config.text;
  if (config.target_hidden_size != target.hidden_size) {
    return differs("embedding_length_out", config.target_hidden_size, target.hidden_size);
  }
  if (text.vocab_size != target.vocab_size) {
    return differs("vocab_size", text.vocab_size, target.vocab_size);
  }
  if (text.sliding_window_tokens != target.sliding_window_tokens) {
    return differs("attention.sliding_window", text.sliding_window_tokens,
                   target.sliding_window_tokens);
  }
  for (const LayerConfig& layer : text.layers) {
    const LayerConfig* source = LastLayer(target, layer.sliding);
    if (source == nullptr) {
      return keys.Error("attention.sliding_window_pattern",
                        "has a kind of layer that the model it drafts for lacks");
    }
    if (layer.kv_heads != source->kv_heads) {
      return differs("attention.head_count_kv", layer.kv_heads, source->kv_heads);
    }
    if (layer.head_dim != source->head_dim) {
      return differs(layer.sliding ? "attention.key_length_swa" : "attention.key_length",
                     layer.head_dim, source->head_dim);
    }
  }
  return config;
}

}  // namespace facet
