#include "model/adapter_config.h"

#include <algorithm>
#include <boost/json.hpp>
#include <cmath>
#include <iterator>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/json.h"

namespace facet {
namespace {

namespace json = boost::json;

constexpr absl::string_view kModules[] = {"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                          "gate_proj", "up_proj", "down_proj"};

// Fields of PEFT's LoraConfig that change what an adapter computes or where it stands. Absent,
// null, false and empty they ask for nothing.
constexpr absl::string_view kUnsupported[] = {"use_dora",
                                              "lora_bias",
                                              "fan_in_fan_out",
                                              "modules_to_save",
                                              "rank_pattern",
                                              "alpha_pattern",
                                              "layer_replication",
                                              "target_parameters",
                                              "use_qalora",
                                              "trainable_token_indices",
                                              "alora_invocation_tokens"};

absl::Status Wrong(absl::string_view field, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("adapter_config.json: '", field, "' ", what));
}

// Null also where the field is JSON's null.
const json::value* Find(const json::object& config, absl::string_view field) {
  const json::value* value = config.if_contains({field.data(), field.size()});
  return value == nullptr || value->is_null() ? nullptr : value;
}

bool AsksForNothing(const json::value& value) {
  if (value.is_bool()) return !value.get_bool();
  if (value.is_array()) return value.get_array().empty();
  if (value.is_object()) return value.get_object().empty();
  return false;
}

// A list of names, each of a module or of the path that ends in it; or one pattern, of which the
// tensors tell what it meant.
absl::Status CheckTargetModules(const json::object& config) {
  const json::value* modules = Find(config, "target_modules");
  if (modules == nullptr || modules->is_string()) return absl::OkStatus();
  if (!modules->is_array()) {
    return Wrong("target_modules", "is neither a list of names nor a pattern");
  }
  for (const json::value& entry : modules->get_array()) {
    if (!entry.is_string()) return Wrong("target_modules", "has an entry that is no name");
    const absl::string_view path(entry.get_string().data(), entry.get_string().size());
    if (IsAdapterModule(path.substr(path.rfind('.') + 1))) continue;
    return Wrong("target_modules", absl::StrCat("has '", absl::CHexEscape(path.substr(0, 100)),
                                                "', which is no projection of a decoder layer"));
  }
  return absl::OkStatus();
}

absl::StatusOr<int> ReadRank(const json::object& config) {
  const json::value* rank = Find(config, "r");
  if (rank == nullptr) return Wrong("r", "is missing");
  json::error_code error;
  const int64_t number = rank->to_number<int64_t>(error);
  if (error || number < 1 || number > kAdapterRankMax) {
    return Wrong("r", absl::StrCat("is not a rank in [1, ", kAdapterRankMax, "]"));
  }
  return static_cast<int>(number);
}

absl::StatusOr<double> ReadAlpha(const json::object& config) {
  const json::value* alpha = Find(config, "lora_alpha");
  if (alpha == nullptr) return Wrong("lora_alpha", "is missing");
  json::error_code error;
  const double number = alpha->to_number<double>(error);
  if (error || !std::isfinite(static_cast<float>(number))) {
    return Wrong("lora_alpha", "is not a number");
  }
  return number;
}

absl::StatusOr<bool> ReadRsLora(const json::object& config) {
  const json::value* value = Find(config, "use_rslora");
  if (value == nullptr) return false;
  if (!value->is_bool()) return Wrong("use_rslora", "is neither true nor false");
  return value->get_bool();
}

}  // namespace

bool IsAdapterModule(absl::string_view name) {
  return std::find(std::begin(kModules), std::end(kModules), name) != std::end(kModules);
}

absl::StatusOr<AdapterConfig> ParseAdapterConfig(absl::string_view text) {
  ASSIGN_OR_RETURN(const json::value value, ParseJson(text, "adapter_config.json"));
  if (!value.is_object()) return absl::InvalidArgumentError("adapter_config.json: not an object");
  const json::object& fields = value.get_object();
  const json::value* type = Find(fields, "peft_type");
  if (type == nullptr || *type != "LORA") return Wrong("peft_type", "is not LORA");
  for (const absl::string_view field : kUnsupported) {
    const json::value* asked = Find(fields, field);
    if (asked != nullptr && !AsksForNothing(*asked)) {
      return Wrong(field, "asks for what Facet does not apply");
    }
  }
  const json::value* bias = Find(fields, "bias");
  if (bias != nullptr && *bias != "none") return Wrong("bias", "is not \"none\"");
  RETURN_IF_ERROR(CheckTargetModules(fields));
  AdapterConfig config;
  ASSIGN_OR_RETURN(config.rank, ReadRank(fields));
  ASSIGN_OR_RETURN(const double alpha, ReadAlpha(fields));
  ASSIGN_OR_RETURN(const bool rs_lora, ReadRsLora(fields));
  config.scale = static_cast<float>(alpha / (rs_lora ? std::sqrt(config.rank) : config.rank));
  return config;
}

}  // namespace facet
