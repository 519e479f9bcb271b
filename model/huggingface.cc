#include "model/huggingface.h"

#include <sys/stat.h>

#include <boost/json.hpp>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "model/huggingface_media.h"
#include "model/json.h"
#include "model/safetensors.h"
#include "model/tokenizer_json.h"

namespace facet {
namespace {

namespace json = boost::json;

// A divisor of the rope angle that turns rotation off, as llama.cpp's converter writes it.
constexpr float kNoRotation = 1e30f;

struct NamePair {
  absl::string_view huggingface;
  absl::string_view gguf;
};

// Facts of both formats: huggingface transformers gemma4_unified, llama.cpp gguf-py constants.
constexpr NamePair kLayerTensors[] = {
    {"input_layernorm.weight", "attn_norm.weight"},
    {"post_attention_layernorm.weight", "post_attention_norm.weight"},
    {"pre_feedforward_layernorm.weight", "ffn_norm.weight"},
    {"post_feedforward_layernorm.weight", "post_ffw_norm.weight"},
    {"self_attn.q_proj.weight", "attn_q.weight"},
    {"self_attn.k_proj.weight", "attn_k.weight"},
    {"self_attn.v_proj.weight", "attn_v.weight"},
    {"self_attn.o_proj.weight", "attn_output.weight"},
    {"self_attn.q_norm.weight", "attn_q_norm.weight"},
    {"self_attn.k_norm.weight", "attn_k_norm.weight"},
    {"mlp.gate_proj.weight", "ffn_gate.weight"},
    {"mlp.up_proj.weight", "ffn_up.weight"},
    {"mlp.down_proj.weight", "ffn_down.weight"},
    {"layer_scalar", "layer_output_scale.weight"},
};

bool Exists(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0;
}

// Access to one JSON object whose errors name file and field.
class Fields {
 public:
  Fields(const json::object& object, std::string where)
      : object_(object), where_(std::move(where)) {}

  const json::value* Find(absl::string_view key) const {
    const json::value* value = object_.if_contains({key.data(), key.size()});
    return value == nullptr || value->is_null() ? nullptr : value;
  }
  absl::Status Error(absl::string_view key, absl::string_view what) const {
    return absl::InvalidArgumentError(absl::StrCat(where_, ": '", key, "' ", what));
  }
  absl::StatusOr<int64_t> Int(absl::string_view key) const {
    const json::value* value = Find(key);
    if (value == nullptr) return Error(key, "is missing");
    json::error_code error;
    const int64_t number = value->to_number<int64_t>(error);
    // Sizes and ids, which GGUF's keys hold in 32 bits.
    if (error || number < 0 || number > std::numeric_limits<int32_t>::max()) {
      return Error(key, "is not a whole number of 31 bits");
    }
    return number;
  }
  absl::StatusOr<double> Number(absl::string_view key) const {
    const json::value* value = Find(key);
    if (value == nullptr) return Error(key, "is missing");
    json::error_code error;
    const double number = value->to_number<double>(error);
    if (error) return Error(key, "is not a number");
    return number;
  }
  absl::StatusOr<Fields> Object(absl::string_view key) const {
    const json::value* value = Find(key);
    if (value == nullptr || !value->is_object()) return Error(key, "is not an object");
    return Fields(value->get_object(), absl::StrCat(where_, " ", key));
  }
  const json::object& object() const { return object_; }

 private:
  const json::object& object_;
  const std::string where_;
};

absl::StatusOr<json::value> ReadJson(const std::string& path) {
  ASSIGN_OR_RETURN(const std::unique_ptr<MappedFile> file, MappedFile::Open(path));
  ASSIGN_OR_RETURN(json::value value, ParseJson(file->bytes(), path));
  if (!value.is_object()) return absl::InvalidArgumentError(absl::StrCat(path, ": not an object"));
  return value;
}

// What full layers have that sliding layers do not share. config.json says it in one of two forms.
struct FullLayerShape {
  int64_t head_dim;
  int64_t kv_heads;
};

absl::StatusOr<std::vector<bool>> SlidingPattern(const Fields& text, int64_t layers) {
  const json::value* types = text.Find("layer_types");
  if (types == nullptr || !types->is_array() ||
      static_cast<int64_t>(types->get_array().size()) != layers) {
    return text.Error("layer_types", "is not an array of num_hidden_layers entries");
  }
  std::vector<bool> sliding;
  for (const json::value& type : types->get_array()) {
    if (type == "sliding_attention") {
      sliding.push_back(true);
    } else if (type == "full_attention") {
      sliding.push_back(false);
    } else {
      return text.Error("layer_types", "has an entry that is no kind of attention we know");
    }
  }
  return sliding;
}

absl::StatusOr<FullLayerShape> ReadFullLayerShape(const Fields& text, int64_t first_full_layer) {
  if (text.Find("global_head_dim") != nullptr) {
    ASSIGN_OR_RETURN(const int64_t head_dim, text.Int("global_head_dim"));
    ASSIGN_OR_RETURN(const int64_t kv_heads, text.Int("num_global_key_value_heads"));
    return FullLayerShape{head_dim, kv_heads};
  }
  // transformers 5.23 re-saves the same under zero-padded layer numbers.
  ASSIGN_OR_RETURN(const Fields layers, text.Object("per_layer_config"));
  for (const auto& entry : layers.object()) {
    int64_t number;
    const absl::string_view key(entry.key().data(), entry.key().size());
    if (!absl::SimpleAtoi(key, &number) || number != first_full_layer) continue;
    ASSIGN_OR_RETURN(const Fields layer, layers.Object(key));
    ASSIGN_OR_RETURN(const int64_t head_dim, layer.Int("head_dim"));
    ASSIGN_OR_RETURN(const int64_t kv_heads, layer.Int("num_key_value_heads"));
    return FullLayerShape{head_dim, kv_heads};
  }
  return text.Error("per_layer_config", "has no entry for the first full layer");
}

// GGUF's key of the architecture that `metadata` names already: "gemma4.block_count".
std::string Key(const Metadata& metadata, absl::string_view name) {
  return absl::StrCat(metadata.GetString("general.architecture").value(), ".", name);
}

template <typename T>
void SetInt(Metadata& metadata, absl::string_view key, T value) {
  metadata.Set(Key(metadata, key), static_cast<uint32_t>(value));
}

absl::Status CopyInt(const Fields& text, absl::string_view from, absl::string_view to,
                     Metadata& metadata) {
  ASSIGN_OR_RETURN(const int64_t value, text.Int(from));
  SetInt(metadata, to, value);
  return absl::OkStatus();
}

absl::Status AddAttentionShape(const Fields& text, Metadata& metadata) {
  ASSIGN_OR_RETURN(const int64_t layers, text.Int("num_hidden_layers"));
  ASSIGN_OR_RETURN(const std::vector<bool> sliding, SlidingPattern(text, layers));
  ASSIGN_OR_RETURN(const int64_t head_dim, text.Int("head_dim"));
  ASSIGN_OR_RETURN(const int64_t kv_heads, text.Int("num_key_value_heads"));
  int64_t first_full = 0;
  while (first_full < layers && sliding[first_full]) ++first_full;
  FullLayerShape full = {head_dim, kv_heads};
  if (first_full < layers) {
    ASSIGN_OR_RETURN(full, ReadFullLayerShape(text, first_full));
  }
  std::vector<int32_t> heads;
  for (const bool is_sliding : sliding) heads.push_back(is_sliding ? kv_heads : full.kv_heads);
  metadata.Set(Key(metadata, "attention.sliding_window_pattern"), sliding);
  metadata.Set(Key(metadata, "attention.head_count_kv"), heads);
  for (const absl::string_view key :
       {"attention.key_length", "attention.value_length", "rope.dimension_count"}) {
    SetInt(metadata, key, full.head_dim);
    SetInt(metadata, absl::StrCat(key, "_swa"), head_dim);
  }
  return absl::OkStatus();
}

absl::Status AddRope(const Fields& text, Metadata& metadata) {
  ASSIGN_OR_RETURN(const Fields rope, text.Object("rope_parameters"));
  ASSIGN_OR_RETURN(const Fields full, rope.Object("full_attention"));
  ASSIGN_OR_RETURN(const Fields sliding, rope.Object("sliding_attention"));
  ASSIGN_OR_RETURN(const double full_theta, full.Number("rope_theta"));
  ASSIGN_OR_RETURN(const double sliding_theta, sliding.Number("rope_theta"));
  metadata.Set(Key(metadata, "rope.freq_base"), static_cast<float>(full_theta));
  metadata.Set(Key(metadata, "rope.freq_base_swa"), static_cast<float>(sliding_theta));
  return absl::OkStatus();
}

absl::Status RefuseWhatWeDoNotRun(const Fields& text) {
  const json::value* moe = text.Find("enable_moe_block");
  if (moe != nullptr && *moe == true) {
    return text.Error("enable_moe_block", "is true: mixtures of experts are not supported");
  }
  const json::value* per_layer = text.Find("hidden_size_per_layer_input");
  if (per_layer != nullptr && *per_layer != 0) {
    return text.Error("hidden_size_per_layer_input",
                      "is not 0: per-layer embeddings are not supported");
  }
  return absl::OkStatus();
}

// The sections of a config.json. A drafter's has `backbone_hidden_size`, its target's hidden size.
struct Config {
  json::value text;
  std::optional<int64_t> target_hidden_size;
};

// A drafter's layers all read the target's keys and values, a target's layers none.
absl::Status AddSharedLayers(const Fields& text, const Config& config, Metadata& metadata) {
  int64_t shared = 0;
  if (text.Find("num_kv_shared_layers") != nullptr) {
    ASSIGN_OR_RETURN(shared, text.Int("num_kv_shared_layers"));
  }
  ASSIGN_OR_RETURN(const int64_t layers, text.Int("num_hidden_layers"));
  if (config.target_hidden_size.has_value()) {
    if (shared != layers) {
      return text.Error("num_kv_shared_layers", "is not num_hidden_layers, as a drafter's is");
    }
    SetInt(metadata, "embedding_length_out", *config.target_hidden_size);
    SetInt(metadata, "nextn_predict_layers", layers);
  } else if (shared != 0) {
    return text.Error("num_kv_shared_layers", "is not 0: layers that share KV are not supported");
  }
  SetInt(metadata, "attention.shared_kv_layers", shared);
  return absl::OkStatus();
}

absl::Status AddConfig(const Config& config, const std::string& path, Metadata& metadata) {
  const Fields text(config.text.get_object(), path);
  RETURN_IF_ERROR(RefuseWhatWeDoNotRun(text));
  metadata.Set("general.architecture",
               std::string(config.target_hidden_size.has_value() ? "gemma4-assistant" : "gemma4"));
  metadata.Set("general.type", std::string("model"));
  RETURN_IF_ERROR(CopyInt(text, "num_hidden_layers", "block_count", metadata));
  RETURN_IF_ERROR(CopyInt(text, "max_position_embeddings", "context_length", metadata));
  RETURN_IF_ERROR(CopyInt(text, "hidden_size", "embedding_length", metadata));
  RETURN_IF_ERROR(CopyInt(text, "intermediate_size", "feed_forward_length", metadata));
  RETURN_IF_ERROR(CopyInt(text, "num_attention_heads", "attention.head_count", metadata));
  RETURN_IF_ERROR(CopyInt(text, "sliding_window", "attention.sliding_window", metadata));
  RETURN_IF_ERROR(CopyInt(text, "vocab_size", "vocab_size", metadata));
  RETURN_IF_ERROR(AddAttentionShape(text, metadata));
  RETURN_IF_ERROR(AddRope(text, metadata));
  ASSIGN_OR_RETURN(const double epsilon, text.Number("rms_norm_eps"));
  metadata.Set(Key(metadata, "attention.layer_norm_rms_epsilon"), static_cast<float>(epsilon));
  RETURN_IF_ERROR(AddSharedLayers(text, config, metadata));
  metadata.Set(Key(metadata, "embedding_length_per_layer_input"), uint32_t{0});
  if (text.Find("final_logit_softcapping") != nullptr) {
    ASSIGN_OR_RETURN(const double softcap, text.Number("final_logit_softcapping"));
    metadata.Set(Key(metadata, "final_logit_softcapping"), static_cast<float>(softcap));
  }
  return absl::OkStatus();
}

absl::Status AddGenerationConfig(const std::string& path, Metadata& metadata) {
  ASSIGN_OR_RETURN(const json::value value, ReadJson(path));
  const Fields fields(value.get_object(), path);
  if (fields.Find("temperature") != nullptr) {
    ASSIGN_OR_RETURN(const double temperature, fields.Number("temperature"));
    metadata.Set("general.sampling.temp", static_cast<float>(temperature));
  }
  if (fields.Find("top_p") != nullptr) {
    ASSIGN_OR_RETURN(const double top_p, fields.Number("top_p"));
    metadata.Set("general.sampling.top_p", static_cast<float>(top_p));
  }
  if (fields.Find("top_k") != nullptr) {
    ASSIGN_OR_RETURN(const int64_t top_k, fields.Int("top_k"));
    metadata.Set("general.sampling.top_k", static_cast<int32_t>(top_k));
  }
  if (const json::value* ids = fields.Find("suppress_tokens"); ids != nullptr) {
    if (!ids->is_array()) return fields.Error("suppress_tokens", "is not an array");
    std::vector<int32_t> suppressed;
    for (const json::value& id : ids->get_array()) {
      json::error_code error;
      suppressed.push_back(id.to_number<int32_t>(error));
      if (error) return fields.Error("suppress_tokens", "is not whole numbers of 31 bits");
    }
    metadata.Set("tokenizer.ggml.suppress_tokens", suppressed);
  }
  return absl::OkStatus();
}

absl::Status AddTokenizer(const std::string& folder, Metadata& metadata) {
  ASSIGN_OR_RETURN(const std::unique_ptr<MappedFile> file,
                   MappedFile::Open(folder + "/tokenizer.json"));
  RETURN_IF_ERROR(AddTokenizerJson(file->bytes(), metadata));
  if (const std::string path = folder + "/chat_template.jinja"; Exists(path)) {
    ASSIGN_OR_RETURN(const std::unique_ptr<MappedFile> text, MappedFile::Open(path));
    metadata.Set("tokenizer.chat_template", std::string(text->bytes()));
  } else if (const std::string config = folder + "/tokenizer_config.json"; Exists(config)) {
    ASSIGN_OR_RETURN(const json::value value, ReadJson(config));
    const json::value* text = value.get_object().if_contains("chat_template");
    if (text != nullptr && text->is_string()) {
      metadata.Set("tokenizer.chat_template", std::string(text->get_string()));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Config> ReadConfig(const std::string& path) {
  ASSIGN_OR_RETURN(json::value whole, ReadJson(path));
  const Fields fields(whole.get_object(), path);
  Config config;
  if (fields.Find("backbone_hidden_size") != nullptr) {
    ASSIGN_OR_RETURN(config.target_hidden_size, fields.Int("backbone_hidden_size"));
  }
  const json::value* text = fields.Find("text_config");
  if (text != nullptr && !text->is_object()) return fields.Error("text_config", "is not an object");
  config.text = text == nullptr ? whole : *text;
  return config;
}

// The GGUF name, or nothing for a tensor that says nothing new.
absl::StatusOr<std::optional<std::string>> GgufName(absl::string_view name, int64_t layers) {
  // The head is the embedding.
  if (absl::StartsWith(name, "lm_head.")) return std::nullopt;
  if (name == "pre_projection.weight" || name == "post_projection.weight") {
    return absl::StrCat("nextn.", name);
  }
  absl::string_view rest = name;
  if (!absl::ConsumePrefix(&rest, "model.language_model.") &&
      !absl::ConsumePrefix(&rest, "model.")) {
    return absl::InvalidArgumentError(absl::StrCat("tensor '", name, "' is not known"));
  }
  if (rest == "embed_tokens.weight") return std::string("token_embd.weight");
  if (rest == "norm.weight") return std::string("output_norm.weight");
  if (absl::ConsumePrefix(&rest, "layers.")) {
    const size_t dot = rest.find('.');
    int64_t layer;
    if (dot != absl::string_view::npos && absl::SimpleAtoi(rest.substr(0, dot), &layer) &&
        layer >= 0 && layer < layers) {
      for (const NamePair& pair : kLayerTensors) {
        if (rest.substr(dot + 1) == pair.huggingface) {
          return absl::StrCat("blk.", layer, ".", pair.gguf);
        }
      }
    }
  }
  return absl::InvalidArgumentError(absl::StrCat("tensor '", name, "' is not known"));
}

absl::Status AddTensors(const std::string& path, ModelFile& file) {
  ASSIGN_OR_RETURN(std::unique_ptr<MappedFile> mapped, MappedFile::Open(path));
  absl::StatusOr<std::vector<SafetensorsTensor>> tensors =
      ParseSafetensors(file.Own(std::move(mapped)));
  ASSIGN_OR_RETURN(const int64_t layers,
                   file.metadata().GetInt(Key(file.metadata(), "block_count")));
  if (!tensors.ok()) {
    return absl::Status(tensors.status().code(),
                        absl::StrCat(path, ": ", tensors.status().message()));
  }
  for (const SafetensorsTensor& tensor : *tensors) {
    if (IsHuggingFaceMediaTensor(tensor.name)) {
      RETURN_IF_ERROR(AddHuggingFaceMediaTensor(tensor, path, file));
      continue;
    }
    ASSIGN_OR_RETURN(const std::optional<std::string> name, GgufName(tensor.name, layers));
    if (!name.has_value()) continue;
    absl::StatusOr<TensorType> type = TensorTypeFromName(tensor.dtype);
    if (!type.ok() || tensor.shape.empty() || tensor.data.empty()) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": tensor '", tensor.name, "' of dtype ",
                                                     tensor.dtype, " is no weight that we read"));
    }
    RETURN_IF_ERROR(
        file.AddTensor({*name, *type, {tensor.shape.rbegin(), tensor.shape.rend()}, tensor.data}));
  }
  return absl::OkStatus();
}

// GGUF says by a tensor which frequencies of full layers rotate; config.json says it by a share.
absl::Status AddRopeDivisors(const Fields& text, ModelFile& file) {
  ASSIGN_OR_RETURN(const Fields rope, text.Object("rope_parameters"));
  ASSIGN_OR_RETURN(const Fields full, rope.Object("full_attention"));
  double share = 1.0;
  if (full.Find("partial_rotary_factor") != nullptr) {
    ASSIGN_OR_RETURN(share, full.Number("partial_rotary_factor"));
  }
  if (!(share >= 0 && share <= 1)) return full.Error("partial_rotary_factor", "is not in [0, 1]");
  ASSIGN_OR_RETURN(const int64_t head_dim,
                   file.metadata().GetInt(Key(file.metadata(), "attention.key_length")));
  if (head_dim < 2 || head_dim > 65536) return text.Error("global_head_dim", "is out of range");
  std::vector<float> divisors(head_dim / 2, kNoRotation);
  // transformers modeling_rope_utils: int(partial_rotary_factor * head_dim // 2) pairs rotate.
  const int64_t rotated = static_cast<int64_t>(share * static_cast<double>(head_dim) / 2);
  for (int64_t i = 0; i < rotated; ++i) divisors[i] = 1.0f;
  const absl::string_view bytes = file.Own(
      std::string(reinterpret_cast<const char*>(divisors.data()), divisors.size() * sizeof(float)));
  return file.AddTensor({"rope_freqs.weight", TensorType::kF32, {head_dim / 2}, bytes});
}

}  // namespace

absl::StatusOr<Metadata> ReadHuggingFaceMetadata(const std::string& folder) {
  Metadata metadata;
  if (const std::string path = folder + "/config.json"; Exists(path)) {
    ASSIGN_OR_RETURN(const Config config, ReadConfig(path));
    RETURN_IF_ERROR(AddConfig(config, path, metadata));
  }
  if (Exists(folder + "/tokenizer.json")) RETURN_IF_ERROR(AddTokenizer(folder, metadata));
  if (const std::string path = folder + "/generation_config.json"; Exists(path)) {
    RETURN_IF_ERROR(AddGenerationConfig(path, metadata));
  }
  if (metadata.values().empty()) {
    return absl::NotFoundError(
        absl::StrCat(folder, " has neither a config.json nor a tokenizer.json: no model is there"));
  }
  return metadata;
}

absl::Status ReadHuggingFaceFolder(ModelFile& file) {
  const std::string& folder = file.path();
  ASSIGN_OR_RETURN(file.mutable_metadata(), ReadHuggingFaceMetadata(folder));
  ASSIGN_OR_RETURN(const Config config, ReadConfig(folder + "/config.json"));
  RETURN_IF_ERROR(AddRopeDivisors(Fields(config.text.get_object(), folder + "/config.json"), file));
  const std::string index = folder + "/model.safetensors.index.json";
  if (!Exists(index)) return AddTensors(folder + "/model.safetensors", file);
  ASSIGN_OR_RETURN(const std::unique_ptr<MappedFile> mapped, MappedFile::Open(index));
  ASSIGN_OR_RETURN(const std::vector<std::string> names, ParseSafetensorsIndex(mapped->bytes()));
  for (const std::string& name : names) RETURN_IF_ERROR(AddTensors(folder + "/" + name, file));
  return absl::OkStatus();
}

}  // namespace facet
