#include "model/chat_values.h"

#include <algorithm>
#include <boost/json.hpp>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/python_text.h"

namespace facet {
namespace {

namespace json = boost::json;

using Entry = std::pair<absl::string_view, const json::value*>;

void AppendString(absl::string_view value, std::string& text) {
  absl::StrAppend(&text, "<|\"|>", value, "<|\"|>");
}

// Sorted without regard to case; keys that differ only in case keep their order.
std::vector<Entry> Sorted(const json::object& object) {
  // (the key in lower case, its place)
  std::vector<std::pair<std::string, size_t>> order;
  std::vector<Entry> entries;
  order.reserve(object.size());
  entries.reserve(object.size());
  for (const auto& entry : object) {
    const absl::string_view key(entry.key().data(), entry.key().size());
    order.emplace_back(absl::AsciiStrToLower(key), entries.size());
    entries.emplace_back(key, &entry.value());
  }
  std::sort(order.begin(), order.end());
  std::vector<Entry> sorted;
  sorted.reserve(entries.size());
  for (const auto& [lower, place] : order) sorted.push_back(entries[place]);
  return sorted;
}

// What Jinja takes for false.
bool IsFalsy(const json::value* value) {
  if (!value || value->is_null()) return true;
  if (value->is_bool()) return !value->as_bool();
  if (value->is_string()) return value->as_string().empty();
  if (value->is_array()) return value->as_array().empty();
  if (value->is_object()) return value->as_object().empty();
  return value->is_number() && value->to_number<double>() == 0;
}

// A JSON schema's `type` in upper case. A list of types is written as Python prints one.
absl::StatusOr<std::string> UpperType(const json::object& schema, const std::string& field) {
  const json::value* type = schema.if_contains("type");
  if (!type || type->is_null()) return std::string();
  if (type->is_string()) return absl::AsciiStrToUpper(AsView(type->as_string()));
  if (!type->is_array()) return BadField(absl::StrCat(field, ".type"), "is not a string or list");
  std::string list = "[";
  for (const json::value& one : type->as_array()) {
    if (!one.is_string()) return BadField(absl::StrCat(field, ".type"), "has what is no string");
    absl::StrAppend(&list, list.size() > 1 ? ", " : "", "'",
                    absl::AsciiStrToUpper(AsView(one.as_string())), "'");
  }
  return absl::StrCat(list, "]");
}

// "required:[...]" of a schema.
absl::Status AppendRequired(const json::value& required, const std::string& field,
                            std::string& text) {
  const json::array* names = required.if_array();
  if (!names) return BadField(absl::StrCat(field, ".required"), "is not a list");
  absl::StrAppend(&text, "required:[");
  for (size_t i = 0; i < names->size(); ++i) {
    if (!(*names)[i].is_string()) {
      return BadField(absl::StrCat(field, ".required[", i, "]"), "is not a string");
    }
    if (i > 0) absl::StrAppend(&text, ",");
    AppendString(AsView((*names)[i].as_string()), text);
  }
  absl::StrAppend(&text, "]");
  return absl::OkStatus();
}

// Keys of a schema that describe the schema itself.
bool IsStandardKey(absl::string_view key) {
  return key == "description" || key == "type" || key == "properties" || key == "required" ||
         key == "nullable";
}

absl::Status AppendProperty(const json::value& schema, const std::string& field, std::string& text);

// "properties:{...}". An object schema without properties stands for its own other keys.
absl::Status AppendProperties(const json::object& properties, bool skip_standard,
                              const std::string& field, std::string& text) {
  absl::StrAppend(&text, "properties:{");
  bool first = true;
  for (const auto& [name, schema] : Sorted(properties)) {
    if (skip_standard && IsStandardKey(name)) continue;
    absl::StrAppend(&text, first ? "" : ",", name, ":");
    first = false;
    RETURN_IF_ERROR(AppendProperty(*schema, absl::StrCat(field, ".", name), text));
  }
  absl::StrAppend(&text, "}");
  return absl::OkStatus();
}

// "items:{...}" of a list: what is known about items, then every other key as a value.
absl::Status AppendItems(const json::object& items, const std::string& field, std::string& text) {
  absl::StrAppend(&text, "items:{");
  bool first = true;
  for (const auto& [key, value] : Sorted(items)) {
    if (value->is_null()) continue;
    absl::StrAppend(&text, first ? "" : ",");
    first = false;
    if (key == "properties") {
      const json::object none;
      const json::object& properties = value->is_object() ? value->as_object() : none;
      RETURN_IF_ERROR(AppendProperties(properties, false, field, text));
    } else if (key == "required") {
      RETURN_IF_ERROR(AppendRequired(*value, field, text));
    } else if (key == "type" && value->is_string()) {
      absl::StrAppend(&text, "type:");
      AppendString(absl::AsciiStrToUpper(AsView(value->as_string())), text);
    } else if (key == "type" && value->is_array()) {
      json::array upper;
      for (const json::value& one : value->as_array()) {
        if (!one.is_string())
          return BadField(absl::StrCat(field, ".type"), "has what is no string");
        upper.push_back(json::value(absl::AsciiStrToUpper(AsView(one.as_string()))));
      }
      absl::StrAppend(&text, "type:");
      AppendValue(upper, KeyStyle::kQuoted, text);
    } else {
      absl::StrAppend(&text, key, ":");
      AppendValue(*value, KeyStyle::kQuoted, text);
    }
  }
  absl::StrAppend(&text, "}");
  return absl::OkStatus();
}

// "{...}" of one property. A schema that is no object (true, say) is as good as an empty one.
absl::Status AppendProperty(const json::value& value, const std::string& field, std::string& text) {
  const json::object none;
  const json::object& schema = value.is_object() ? value.as_object() : none;
  ASSIGN_OR_RETURN(const std::string type, UpperType(schema, field));
  ASSIGN_OR_RETURN(const absl::string_view description, GetText(schema, "description", field));
  absl::StrAppend(&text, "{");
  if (!description.empty()) {
    absl::StrAppend(&text, "description:");
    AppendString(description, text);
    absl::StrAppend(&text, ",");
  }
  const json::value* choices = schema.if_contains("enum");
  if (type == "STRING" && !IsFalsy(choices)) {
    absl::StrAppend(&text, "enum:");
    AppendValue(*choices, KeyStyle::kQuoted, text);
    absl::StrAppend(&text, ",");
  }
  const json::value* items = schema.if_contains("items");
  if (type == "ARRAY" && !IsFalsy(items) && items->is_object()) {
    RETURN_IF_ERROR(AppendItems(items->as_object(), absl::StrCat(field, ".items"), text));
    absl::StrAppend(&text, ",");
  }
  if (!IsFalsy(schema.if_contains("nullable"))) absl::StrAppend(&text, "nullable:true,");
  if (type == "OBJECT") {
    const json::value* properties = schema.if_contains("properties");
    const bool given = properties && properties->is_object();
    RETURN_IF_ERROR(
        AppendProperties(given ? properties->as_object() : schema, !given, field, text));
    absl::StrAppend(&text, ",");
    const json::value* required = schema.if_contains("required");
    if (!IsFalsy(required)) {
      RETURN_IF_ERROR(AppendRequired(*required, field, text));
      absl::StrAppend(&text, ",");
    }
  }
  absl::StrAppend(&text, "type:");
  AppendString(type, text);
  absl::StrAppend(&text, "}");
  return absl::OkStatus();
}

// ",parameters:{...}" of a function.
absl::Status AppendParameters(const json::value& value, const std::string& field,
                              std::string& text) {
  const json::object* parameters = value.if_object();
  if (!parameters) return BadField(field, "is not an object");
  absl::StrAppend(&text, ",parameters:{");
  const json::value* properties = parameters->if_contains("properties");
  if (!IsFalsy(properties)) {
    if (!properties->is_object()) {
      return BadField(absl::StrCat(field, ".properties"), "is not an object");
    }
    RETURN_IF_ERROR(
        AppendProperties(properties->as_object(), false, absl::StrCat(field, ".properties"), text));
    absl::StrAppend(&text, ",");
  }
  const json::value* required = parameters->if_contains("required");
  if (!IsFalsy(required)) {
    RETURN_IF_ERROR(AppendRequired(*required, field, text));
    absl::StrAppend(&text, ",");
  }
  ASSIGN_OR_RETURN(const std::string type, UpperType(*parameters, field));
  absl::StrAppend(&text, "type:");
  AppendString(type.empty() ? "OBJECT" : type, text);
  absl::StrAppend(&text, "}");
  return absl::OkStatus();
}

// ",response:{...}" of a function.
absl::Status AppendResponse(const json::value& value, const std::string& field, std::string& text) {
  const json::object* response = value.if_object();
  if (!response) return BadField(field, "is not an object");
  ASSIGN_OR_RETURN(const absl::string_view description, GetText(*response, "description", field));
  ASSIGN_OR_RETURN(const std::string type, UpperType(*response, field));
  absl::StrAppend(&text, ",response:{");
  if (!description.empty()) {
    absl::StrAppend(&text, "description:");
    AppendString(description, text);
    absl::StrAppend(&text, ",");
  }
  absl::StrAppend(&text, "type:");
  AppendString(type.empty() ? "OBJECT" : type, text);
  absl::StrAppend(&text, "}");
  return absl::OkStatus();
}

}  // namespace

void AppendValue(const json::value& value, KeyStyle keys, std::string& text) {
  switch (value.kind()) {
    case json::kind::null:
      absl::StrAppend(&text, "null");
      break;
    case json::kind::bool_:
      absl::StrAppend(&text, value.as_bool() ? "true" : "false");
      break;
    case json::kind::int64:
      absl::StrAppend(&text, value.as_int64());
      break;
    case json::kind::uint64:
      absl::StrAppend(&text, value.as_uint64());
      break;
    case json::kind::double_:
      absl::StrAppend(&text, PythonFloat(value.as_double()));
      break;
    case json::kind::string:
      AppendString(AsView(value.as_string()), text);
      break;
    case json::kind::array: {
      absl::string_view separator = "[";
      for (const json::value& item : value.as_array()) {
        absl::StrAppend(&text, separator);
        AppendValue(item, keys, text);
        separator = ",";
      }
      absl::StrAppend(&text, value.as_array().empty() ? "[]" : "]");
      break;
    }
    case json::kind::object: {
      absl::string_view separator = "{";
      for (const auto& [key, item] : Sorted(value.as_object())) {
        absl::StrAppend(&text, separator);
        if (keys == KeyStyle::kQuoted) {
          AppendString(key, text);
        } else {
          absl::StrAppend(&text, key);
        }
        absl::StrAppend(&text, ":");
        AppendValue(*item, keys, text);
        separator = ",";
      }
      absl::StrAppend(&text, value.as_object().empty() ? "{}" : "}");
      break;
    }
  }
}

absl::Status AppendToolDeclaration(const json::value& tool, const std::string& tool_field,
                                   std::string& text) {
  const std::string field = absl::StrCat(tool_field, ".function");
  ASSIGN_OR_RETURN(const json::object* function, GetFunction(tool, field));
  ASSIGN_OR_RETURN(const absl::string_view name, GetText(*function, "name", field));
  if (name.empty()) return BadField(absl::StrCat(field, ".name"), "is missing");
  ASSIGN_OR_RETURN(const absl::string_view description, GetText(*function, "description", field));
  absl::StrAppend(&text, "declaration:", name, "{description:");
  AppendString(description, text);
  const json::value* parameters = function->if_contains("parameters");
  if (!IsFalsy(parameters)) {
    RETURN_IF_ERROR(AppendParameters(*parameters, absl::StrCat(field, ".parameters"), text));
  }
  const json::value* response = function->if_contains("response");
  if (!IsFalsy(response)) {
    RETURN_IF_ERROR(AppendResponse(*response, absl::StrCat(field, ".response"), text));
  }
  absl::StrAppend(&text, "}");
  return absl::OkStatus();
}

absl::Status BadField(absl::string_view field, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(field, " ", what));
}

absl::string_view AsView(const json::string& text) { return {text.data(), text.size()}; }

absl::StatusOr<absl::string_view> GetText(const json::object& object, const char* key,
                                          absl::string_view field) {
  const json::value* value = object.if_contains(key);
  if (!value || value->is_null()) return absl::string_view();
  if (!value->is_string()) return BadField(absl::StrCat(field, ".", key), "is not a string");
  return AsView(value->as_string());
}

absl::StatusOr<const json::object*> GetFunction(const json::value& entry, absl::string_view field) {
  const json::object* object = entry.if_object();
  const json::value* function = object ? object->if_contains("function") : nullptr;
  if (!function || !function->is_object()) return BadField(field, "is missing or not an object");
  return &function->as_object();
}

}  // namespace facet
