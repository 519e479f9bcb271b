#include "model/config.h"

#include <cstdint>

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

absl::Status Error(absl::string_view key, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("metadata key '", key, "' ", what));
}

absl::StatusOr<int> ReadInt(const Metadata& metadata, absl::string_view key, int64_t max) {
  ASSIGN_OR_RETURN(const int64_t value, metadata.GetInt(key));
  if (value < 1 || value > max)
    return Error(key, absl::StrCat("is ", value, ", not in [1, ", max, "]"));
  return static_cast<int>(value);
}

absl::StatusOr<float> ReadPositive(const Metadata& metadata, absl::string_view key) {
  ASSIGN_OR_RETURN(const double value, metadata.GetFloat(key));
  if (!(value > 0 && value < 1e12)) return Error(key, absl::StrCat("is ", value, ", not positive"));
  return static_cast<float>(value);
}

// A key that holds either one number for all layers or one for each.
absl::StatusOr<std::vector<int64_t>> ReadPerLayer(const Metadata& metadata, absl::string_view key,
                                                  int layers, int64_t max) {
  std::vector<int64_t> values;
  if (absl::StatusOr<int64_t> one = metadata.GetInt(key); one.ok()) {
    values.assign(layers, *one);
  } else {
    ASSIGN_OR_RETURN(values, metadata.GetInts(key));
  }
  if (values.size() != static_cast<size_t>(layers)) {
    return Error(key, absl::StrCat("has ", values.size(), " entries for ", layers, " layers"));
  }
  for (const int64_t value : values) {
    if (value < 1 || value > max)
      return Error(key, absl::StrCat("holds ", value, ", not in [1, ", max, "]"));
  }
  return values;
}

absl::Status RefuseWhatWeDoNotRun(const Metadata& metadata) {
  ASSIGN_OR_RETURN(const absl::string_view architecture,
                   metadata.GetString("general.architecture"));
  if (architecture != "gemma4") {
    return Error("general.architecture",
                 absl::StrCat("is '", architecture, "', Facet serves gemma4"));
  }
  for (const absl::string_view key :
       {"gemma4.attention.shared_kv_layers", "gemma4.embedding_length_per_layer_input",
        "gemma4.expert_count"}) {
    if (!metadata.Has(key)) continue;
    ASSIGN_OR_RETURN(const int64_t value, metadata.GetInt(key));
    if (value != 0)
      return Error(key, absl::StrCat("is ", value, ": Facet serves models where it is 0"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<LayerConfig>> ReadLayers(const Metadata& metadata, int query_heads) {
  ASSIGN_OR_RETURN(const int count, ReadInt(metadata, "gemma4.block_count", kLayersMax));
  const absl::string_view pattern_key = "gemma4.attention.sliding_window_pattern";
  ASSIGN_OR_RETURN(const std::vector<bool> sliding, metadata.GetBools(pattern_key));
  if (sliding.size() != static_cast<size_t>(count)) {
    return Error(pattern_key,
                 absl::StrCat("has ", sliding.size(), " entries for ", count, " layers"));
  }
  const absl::string_view heads_key = "gemma4.attention.head_count_kv";
  ASSIGN_OR_RETURN(const std::vector<int64_t> kv_heads,
                   ReadPerLayer(metadata, heads_key, count, query_heads));
  ASSIGN_OR_RETURN(const int full_dim,
                   ReadInt(metadata, "gemma4.attention.key_length", kHeadDimMax));
  ASSIGN_OR_RETURN(const int sliding_dim,
                   ReadInt(metadata, "gemma4.attention.key_length_swa", kHeadDimMax));
  std::vector<LayerConfig> layers;
  for (int i = 0; i < count; ++i) {
    layers.push_back(
        {sliding[i], static_cast<int>(kv_heads[i]), sliding[i] ? sliding_dim : full_dim});
    if (query_heads % kv_heads[i] != 0) {
      return Error(heads_key, absl::StrCat("holds ", kv_heads[i], ", which does not divide the ",
                                           query_heads, " query heads"));
    }
    // 16 is the vector width that kernels split a head into.
    if (layers[i].head_dim % 16 != 0) {
      return Error(sliding[i] ? "gemma4.attention.key_length_swa" : "gemma4.attention.key_length",
                   absl::StrCat("is ", layers[i].head_dim, ", no multiple of 16"));
    }
  }
  return layers;
}

absl::StatusOr<int> ReadVocabularySize(const Metadata& metadata) {
  if (metadata.Has("gemma4.vocab_size")) {
    return ReadInt(metadata, "gemma4.vocab_size", kVocabularyMax);
  }
  ASSIGN_OR_RETURN(const std::vector<std::string>* tokens,
                   metadata.GetStrings("tokenizer.ggml.tokens"));
  if (tokens->empty() || static_cast<int64_t>(tokens->size()) > kVocabularyMax) {
    return Error("tokenizer.ggml.tokens", absl::StrCat("has ", tokens->size(), " entries"));
  }
  return static_cast<int>(tokens->size());
}

}  // namespace

absl::StatusOr<TextConfig> ReadTextConfig(const Metadata& metadata) {
  RETURN_IF_ERROR(RefuseWhatWeDoNotRun(metadata));
  TextConfig config;
  ASSIGN_OR_RETURN(config.vocab_size, ReadVocabularySize(metadata));
  ASSIGN_OR_RETURN(config.hidden_size, ReadInt(metadata, "gemma4.embedding_length", kSizeMax));
  ASSIGN_OR_RETURN(config.query_heads, ReadInt(metadata, "gemma4.attention.head_count", kSizeMax));
  ASSIGN_OR_RETURN(config.context_tokens_max,
                   ReadInt(metadata, "gemma4.context_length", kContextMax));
  ASSIGN_OR_RETURN(config.sliding_window_tokens,
                   ReadInt(metadata, "gemma4.attention.sliding_window", kContextMax));
  ASSIGN_OR_RETURN(config.rms_epsilon,
                   ReadPositive(metadata, "gemma4.attention.layer_norm_rms_epsilon"));
  ASSIGN_OR_RETURN(config.rope_theta_full, ReadPositive(metadata, "gemma4.rope.freq_base"));
  ASSIGN_OR_RETURN(config.rope_theta_sliding, ReadPositive(metadata, "gemma4.rope.freq_base_swa"));
  config.logit_softcap = 0;
  if (metadata.Has("gemma4.final_logit_softcapping")) {
    ASSIGN_OR_RETURN(config.logit_softcap,
                     ReadPositive(metadata, "gemma4.final_logit_softcapping"));
  }
  ASSIGN_OR_RETURN(config.layers, ReadLayers(metadata, config.query_heads));
  const absl::string_view feed_forward = "gemma4.feed_forward_length";
  ASSIGN_OR_RETURN(const std::vector<int64_t> sizes,
                   ReadPerLayer(metadata, feed_forward, config.layers.size(), kSizeMax));
  for (const int64_t size : sizes) {
    if (size != sizes[0]) return Error(feed_forward, "differs between layers");
  }
  config.feed_forward_size = static_cast<int>(sizes[0]);
  if (config.hidden_size % 16 != 0) return Error("gemma4.embedding_length", "is no multiple of 16");
  if (config.feed_forward_size % 16 != 0) return Error(feed_forward, "is no multiple of 16");
  return config;
}

}  // namespace facet
