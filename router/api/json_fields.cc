#include "router/api/json_fields.h"

#include <boost/json.hpp>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/json.h"
#include "router/api/api_error.h"

namespace facet {
namespace {

namespace json = boost::json;

// What the value is, for a message; short scalars are shown.
std::string Named(const json::value& value) {
  switch (value.kind()) {
    case json::kind::null:
      return "null";
    case json::kind::bool_:
    case json::kind::int64:
    case json::kind::uint64:
    case json::kind::double_:
      return json::serialize(value);
    case json::kind::string:
      return "a string";
    case json::kind::array:
      return "a list";
    case json::kind::object:
      return "an object";
  }
  return "unknown";
}

}  // namespace

absl::StatusOr<json::object> ParseJsonObject(absl::string_view body) {
  absl::StatusOr<json::value> parsed = ParseJson(body, "The body");
  if (!parsed.ok()) return InvalidParam("", parsed.status().message());
  json::value value = *std::move(parsed);
  if (!value.is_object()) {
    return InvalidParam("",
                        absl::StrCat("The body must be a JSON object, but is ", Named(value), "."));
  }
  return std::move(value.as_object());
}

const json::value* JsonFields::Find(absl::string_view name) const {
  const json::value* value = object_.if_contains({name.data(), name.size()});
  return value == nullptr || value->is_null() ? nullptr : value;
}

absl::Status JsonFields::Bool(absl::string_view name, bool* target) const {
  const json::value* value = Find(name);
  if (value == nullptr) return absl::OkStatus();
  if (!value->is_bool()) return Wrong(name, "true or false");
  *target = value->get_bool();
  return absl::OkStatus();
}

absl::Status JsonFields::String(absl::string_view name, std::string* target) const {
  const json::value* value = Find(name);
  if (value == nullptr) return absl::OkStatus();
  if (!value->is_string()) return Wrong(name, "a string");
  target->assign(value->get_string().data(), value->get_string().size());
  return absl::OkStatus();
}

absl::Status JsonFields::RequiredString(absl::string_view name, std::string* target) const {
  if (Find(name) == nullptr) return Wrong(name, "a string");
  return String(name, target);
}

absl::Status JsonFields::Integer(absl::string_view name, int64_t least, int64_t most,
                                 std::optional<int64_t>* target) const {
  const json::value* value = Find(name);
  if (value == nullptr) return absl::OkStatus();
  json::error_code error;
  const int64_t number = value->to_number<int64_t>(error);
  if (error || number < least || number > most) {
    return Wrong(name, absl::StrCat("a whole number from ", least, " to ", most));
  }
  *target = number;
  return absl::OkStatus();
}

absl::Status JsonFields::Number(absl::string_view name, double least, double most,
                                std::optional<double>* target) const {
  const json::value* value = Find(name);
  if (value == nullptr) return absl::OkStatus();
  // Written so that NaN fails.
  const bool fits = value->is_number() && value->to_number<double>() >= least &&
                    value->to_number<double>() <= most;
  if (!fits) return Wrong(name, absl::StrCat("a number from ", least, " to ", most));
  *target = value->to_number<double>();
  return absl::OkStatus();
}

absl::StatusOr<const json::object*> JsonFields::Object(absl::string_view name) const {
  const json::value* value = Find(name);
  if (value == nullptr) return nullptr;
  if (!value->is_object()) return Wrong(name, "an object");
  return &value->get_object();
}

absl::StatusOr<const json::array*> JsonFields::Array(absl::string_view name) const {
  const json::value* value = Find(name);
  if (value == nullptr) return nullptr;
  if (!value->is_array()) return Wrong(name, "a list");
  return &value->get_array();
}

std::string JsonFields::PathOf(absl::string_view name) const { return absl::StrCat(path_, name); }

absl::Status JsonFields::Wrong(absl::string_view name, absl::string_view expected) const {
  const json::value* value = object_.if_contains({name.data(), name.size()});
  const std::string path = PathOf(name);
  if (value == nullptr) {
    return InvalidParam(path, absl::StrCat("`", path, "` is required: ", expected, "."));
  }
  return WrongValue(path, expected, *value);
}

void CopyFields(const json::object& from, std::initializer_list<absl::string_view> names,
                json::object& to) {
  const JsonFields fields(from, "");
  for (const absl::string_view name : names) {
    if (const json::value* value = fields.Find(name); value != nullptr) {
      to[json::string_view(name.data(), name.size())] = *value;
    }
  }
}

json::string JsonText(absl::string_view text) { return json::string(text.data(), text.size()); }

absl::string_view TextView(const json::string& text) { return {text.data(), text.size()}; }

absl::Status WrongValue(absl::string_view path, absl::string_view expected,
                        const json::value& value) {
  return InvalidParam(
      path, absl::StrCat("`", path, "` must be ", expected, ", but is ", Named(value), "."));
}

}  // namespace facet
