#include "model/schema_grammar.h"

#include <algorithm>
#include <boost/json.hpp>
#include <cmath>
#include <limits>
#include <optional>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "model/number_grammar.h"

namespace facet {
namespace {

namespace json = boost::json;

// Schemas within schemas, references followed.
constexpr int kDepthMax = 128;
constexpr size_t kRulesMax = 8192;
constexpr int kPatternBytesMax = 2048;
constexpr int64_t kCountMax = 100'000;
// Of `multipleOf` within bounds: how many values may be listed.
constexpr int64_t kMultiplesMax = 1000;

// What follows a backslash in a JSON string. No half of a surrogate pair: it is no text.
constexpr char kJsonEscape[] =
    R"((["\\/bfnrt] | "u" ([0-9a-cA-CefEF] [0-9a-fA-F]{3} | [dD] [0-7] [0-9a-fA-F]{2})))";
constexpr char kJsonPlain[] = R"([^"\\\x00-\x1f])";
// A character of a JSON string, for strings of a length; and any number of them, for masks.
constexpr char kJsonCharacter[] = "facet_character";
constexpr char kRawCharacter[] = R"([\u0001-\U0010ffff])";

// Assertions that the grammar does not enforce.
constexpr absl::string_view kRefused[] = {"not",
                                          "if",
                                          "then",
                                          "else",
                                          "dependentRequired",
                                          "dependencies",
                                          "contains",
                                          "minContains",
                                          "maxContains",
                                          "dependentSchemas",
                                          "propertyNames",
                                          "$dynamicRef",
                                          "$recursiveRef",
                                          "additionalItems",
                                          "patternProperties"};
// What says what a value is, beside the keywords that are handled by themselves.
constexpr absl::string_view kAssertions[] = {
    "properties",    "required",         "additionalProperties",
    "minProperties", "maxProperties",    "items",
    "prefixItems",   "minItems",         "maxItems",
    "uniqueItems",   "minLength",        "maxLength",
    "pattern",       "minimum",          "maximum",
    "multipleOf",    "exclusiveMinimum", "exclusiveMaximum"};
constexpr absl::string_view kForms[] = {"$ref", "allOf", "anyOf", "oneOf", "enum", "const"};

absl::string_view View(const json::string& text) { return {text.data(), text.size()}; }
json::string_view Text(absl::string_view text) { return {text.data(), text.size()}; }

const json::value* Find(const json::object& schema, absl::string_view keyword) {
  return schema.if_contains(Text(keyword));
}
bool Has(const json::object& schema, absl::string_view keyword) {
  return Find(schema, keyword) != nullptr;
}

// Formats that have a regular form. Days go up to what every year has.
absl::string_view PatternOfFormat(absl::string_view format) {
#define FACET_DATE                                        \
  "[12][0-9]{3}-((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|" \
  "(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)"
#define FACET_TIME "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
  if (format == "date") return FACET_DATE;
  if (format == "time") return FACET_TIME;
  if (format == "date-time") return FACET_DATE "T" FACET_TIME;
#undef FACET_DATE
#undef FACET_TIME
  if (format == "uuid") {
    return "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}";
  }
  if (format == "ipv4") {
    return "((25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])\\.){3}"
           "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])";
  }
  if (format == "email")
    return "[a-zA-Z0-9_+-]+(\\.[a-zA-Z0-9_+-]+)*@([a-zA-Z0-9-]+\\.)+[a-zA-Z]{2,}";
  return "";
}

absl::Status Wrong(const std::string& path, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(path, ": ", what));
}

// The type of a value, as schemas name it.
absl::string_view TypeOf(const json::value& value) {
  if (value.is_object()) return "object";
  if (value.is_array()) return "array";
  if (value.is_string()) return "string";
  if (value.is_bool()) return "boolean";
  if (value.is_null()) return "null";
  return value.is_double() && std::floor(value.get_double()) != value.get_double() ? "number"
                                                                                   : "integer";
}

// What a schema says its values' types are; none: anything, or more than `type` tells.
std::vector<absl::string_view> TypesOf(const json::object& schema) {
  std::vector<absl::string_view> types;
  const json::value* type = Find(schema, "type");
  if (type == nullptr) {
    if (const json::value* value = Find(schema, "const")) types.push_back(TypeOf(*value));
    if (const json::value* values = Find(schema, "enum"); values && values->is_array()) {
      for (const json::value& value : values->get_array()) types.push_back(TypeOf(value));
    }
    return types;
  }
  if (type->is_string()) types.push_back(View(type->get_string()));
  if (type->is_array()) {
    for (const json::value& one : type->get_array()) {
      if (one.is_string()) types.push_back(View(one.get_string()));
    }
  }
  return types;
}

// The values of a property that a schema requires and lists; empty: it does neither.
std::vector<json::value> ListedValues(const json::object& schema, absl::string_view name) {
  const json::value* required = Find(schema, "required");
  const json::value* properties = Find(schema, "properties");
  if (required == nullptr || properties == nullptr || !required->is_array() ||
      !properties->is_object() ||
      !absl::c_linear_search(required->get_array(), json::value(Text(name)))) {
    return {};
  }
  const json::value* property = Find(properties->get_object(), name);
  if (property == nullptr || !property->is_object()) return {};
  if (const json::value* value = Find(property->get_object(), "const")) return {*value};
  const json::value* values = Find(property->get_object(), "enum");
  if (values == nullptr || !values->is_array()) return {};
  return {values->get_array().begin(), values->get_array().end()};
}

bool HaveCommon(const std::vector<json::value>& a, const std::vector<json::value>& b) {
  return absl::c_any_of(a,
                        [&](const json::value& value) { return absl::c_linear_search(b, value); });
}

// Whether it is sure that no value satisfies both: their types differ, or a property's values do.
bool AreDisjoint(const json::value& a, const json::value& b) {
  if (!a.is_object() || !b.is_object()) return false;
  const auto types_a = TypesOf(a.get_object()), types_b = TypesOf(b.get_object());
  const auto meets = [](absl::string_view one, absl::string_view other) {
    const auto number = [](absl::string_view type) {
      return type == "integer" || type == "number";
    };
    return one == other || (number(one) && number(other));
  };
  const bool common_type =
      types_a.empty() || types_b.empty() || absl::c_any_of(types_a, [&](absl::string_view one) {
        return absl::c_any_of(types_b, [&](absl::string_view other) { return meets(one, other); });
      });
  if (!common_type) return true;
  const json::value* properties = Find(a.get_object(), "properties");
  if (properties == nullptr || !properties->is_object()) return false;
  return absl::c_any_of(properties->get_object(), [&](const auto& property) {
    const absl::string_view name(property.key().data(), property.key().size());
    const auto values_a = ListedValues(a.get_object(), name);
    const auto values_b = ListedValues(b.get_object(), name);
    return !values_a.empty() && !values_b.empty() && !HaveCommon(values_a, values_b);
  });
}

// A count such as minItems.
absl::StatusOr<std::optional<int64_t>> Count(const json::object& schema, const std::string& path,
                                             absl::string_view name) {
  const json::value* value = Find(schema, name);
  if (value == nullptr) return std::nullopt;
  json::error_code error;
  const auto count = value->is_number() ? value->to_number<int64_t>(error) : -1;
  if (error || count < 0) {
    return Wrong(absl::StrCat(path, ".", name), "must be a whole number that is not negative");
  }
  return count;
}

absl::StatusOr<std::optional<double>> Bound(const json::object& schema, const std::string& path,
                                            absl::string_view name) {
  const json::value* value = Find(schema, name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) return Wrong(absl::StrCat(path, ".", name), "must be a number");
  return value->to_number<double>();
}

absl::StatusOr<NumberBounds> Bounds(const json::object& schema, const std::string& path) {
  ASSIGN_OR_RETURN(const auto minimum, Bound(schema, path, "minimum"));
  ASSIGN_OR_RETURN(const auto above, Bound(schema, path, "exclusiveMinimum"));
  ASSIGN_OR_RETURN(const auto maximum, Bound(schema, path, "maximum"));
  ASSIGN_OR_RETURN(const auto below, Bound(schema, path, "exclusiveMaximum"));
  NumberBounds bounds;
  bounds.low_excluded = above && (!minimum || *above >= *minimum);
  bounds.low = bounds.low_excluded ? above : minimum;
  bounds.high_excluded = below && (!maximum || *below <= *maximum);
  bounds.high = bounds.high_excluded ? below : maximum;
  return bounds;
}

// What `least` to `most` of something are: {2,5}. Beyond what an answer can hold there is no end.
std::string Times(int64_t least, std::optional<int64_t> most) {
  if (!most || *most > kCountMax) return absl::StrCat("{", least, ",}");
  return absl::StrCat("{", least, ",", *most, "}");
}

}  // namespace

struct SchemaGrammar::Property {
  std::string name;
  int value;
  bool required;
};

SchemaGrammar SchemaGrammar::ToolCall(int string_quote_id) {
  return SchemaGrammar(absl::StrCat("Token(", string_quote_id, ")"), /*json=*/false);
}

absl::StatusOr<std::string> SchemaGrammar::Add(const json::value& schema, const std::string& path) {
  root_ = &schema;
  root_path_ = path;
  ASSIGN_OR_RETURN(const int rule, Value({schema, path}));
  FindPossible();
  if (!rules_[rule].possible) return Wrong(path, "no value satisfies this schema");
  return Name(rule);
}

std::string SchemaGrammar::Rules() const {
  std::string text;
  if (counts_characters_) {
    absl::StrAppend(&text, kJsonCharacter, " ::= ", kJsonPlain, R"( | "\\" )", kJsonEscape, "\n",
                    kJsonCharacter, "_many ::= ", kJsonPlain, R"(* ("" | "\\" )", kJsonEscape, " ",
                    kJsonCharacter, "_many)\n");
  }
  for (size_t i = 0; i < rules_.size(); ++i) {
    if (!rules_[i].possible) continue;
    absl::StrAppend(&text, Name(static_cast<int>(i)), " ::= ",
                    absl::StrJoin(rules_[i].choices, " | ",
                                  [](std::string* out, const Choice& choice) {
                                    absl::StrAppend(out, choice.text);
                                  }),
                    "\n");
  }
  return text;
}

absl::StatusOr<int> SchemaGrammar::Value(const Place& place) {
  const auto known = rule_of_.find(&place.schema);
  if (known != rule_of_.end()) return known->second;
  if (place.depth > kDepthMax) {
    return Wrong(place.path, absl::StrCat("more than ", kDepthMax, " schemas within each other"));
  }
  if (rules_.size() > kRulesMax) return Wrong(root_path_, "the schema is too large");
  const json::value& schema = place.schema;
  const bool anything =
      schema.is_bool() ? schema.get_bool() : schema.is_object() && schema.get_object().empty();
  if (anything) return Any();
  const int rule = NewRule();
  rule_of_[&schema] = rule;
  if (schema.is_bool()) return rule;
  if (!schema.is_object()) return Wrong(place.path, "a schema must be an object or a boolean");
  RETURN_IF_ERROR(FillValue(place, rule));
  return rule;
}

absl::Status SchemaGrammar::FillValue(const Place& place, int rule) {
  const json::object& schema = place.schema.get_object();
  for (const absl::string_view keyword : kRefused) {
    if (Has(schema, keyword)) {
      return Wrong(absl::StrCat(place.path, ".", keyword), "this keyword is not supported");
    }
  }
  for (const absl::string_view keyword : {"unevaluatedItems", "unevaluatedProperties"}) {
    const json::value* value = Find(schema, keyword);
    if (value != nullptr && !value->is_bool()) {
      return Wrong(absl::StrCat(place.path, ".", keyword), "only true and false are supported");
    }
  }
  for (const absl::string_view form : kForms) {
    if (!Has(schema, form)) continue;
    for (const absl::string_view other : kForms) {
      if (other != form && Has(schema, other)) {
        return Wrong(absl::StrCat(place.path, ".", other),
                     absl::StrCat("is not supported beside `", form, "`"));
      }
    }
    for (const absl::string_view other : kAssertions) {
      if (Has(schema, other)) {
        return Wrong(absl::StrCat(place.path, ".", other),
                     absl::StrCat("is not supported beside `", form, "`"));
      }
    }
    if (form == "enum" || form == "const") return FillLiterals(place, rule);
    if (Has(schema, "type")) {
      return Wrong(place.path + ".type", absl::StrCat("is not supported beside `", form, "`"));
    }
    if (form == "$ref") return FillReference(place, rule);
    return FillAlternatives(place, form, rule);
  }
  const json::value* type = Find(schema, "type");
  if (type != nullptr && !type->is_string() && !(type->is_array() && !type->get_array().empty())) {
    return Wrong(place.path + ".type", "must be the name of a type or a list of those");
  }
  std::vector<absl::string_view> types = TypesOf(schema);
  if (type != nullptr && type->is_array() && types.size() != type->get_array().size()) {
    return Wrong(place.path + ".type", "must be a list of names of types");
  }
  if (types.empty()) {
    const auto has = [&](std::initializer_list<absl::string_view> names) {
      return absl::c_any_of(names, [&](absl::string_view name) { return Has(schema, name); });
    };
    if (has({"properties", "required", "additionalProperties", "minProperties", "maxProperties"})) {
      types = {"object"};
    } else if (has({"items", "prefixItems", "minItems", "maxItems", "uniqueItems"})) {
      types = {"array"};
    } else if (has({"minLength", "maxLength", "pattern", "format"})) {
      types = {"string"};
    } else if (has({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"})) {
      types = {"number"};
    } else {
      const int any = Any();
      rules_[rule].choices.push_back({Name(any), {any}});
      return absl::OkStatus();
    }
  }
  for (const absl::string_view one : types) RETURN_IF_ERROR(FillType(place, one, rule));
  return absl::OkStatus();
}

absl::Status SchemaGrammar::FillReference(const Place& place, int rule) {
  const std::string path = place.path + ".$ref";
  const json::value& reference = place.schema.get_object().at("$ref");
  if (!reference.is_string()) return Wrong(path, "must be a string");
  const std::string text(View(reference.get_string()));
  if (text != "#" && !absl::StartsWith(text, "#/")) {
    return Wrong(path, "must begin with \"#\": only references within the schema are supported");
  }
  json::error_code error;
  const json::value* target = text == "#" ? root_ : root_->find_pointer(text.substr(1), error);
  if (error || target == nullptr) return Wrong(path, absl::StrCat("\"", text, "\" is not there"));
  ASSIGN_OR_RETURN(const int other, Value({*target, root_path_ + text.substr(1), place.depth + 1}));
  rules_[rule].choices.push_back({Name(other), {other}});
  return absl::OkStatus();
}

absl::Status SchemaGrammar::FillAlternatives(const Place& place, absl::string_view keyword,
                                             int rule) {
  const std::string path = absl::StrCat(place.path, ".", keyword);
  const json::value& list = *Find(place.schema.get_object(), keyword);
  if (!list.is_array() || list.get_array().empty()) {
    return Wrong(path, "must be a list of at least one schema");
  }
  const json::array& options = list.get_array();
  if (keyword == "allOf" && options.size() > 1) {
    return Wrong(path, "more than one schema is not supported");
  }
  for (size_t i = 0; i < options.size(); ++i) {
    for (size_t j = 0; keyword == "oneOf" && j < i; ++j) {
      if (AreDisjoint(options[i], options[j])) continue;
      return Wrong(path, absl::StrCat("schemas ", j, " and ", i,
                                      " may hold for one value; use `anyOf`, or tell them apart by "
                                      "type or by a required property's `const`"));
    }
    const Place option = {options[i], absl::StrCat(path, "[", i, "]"), place.depth + 1};
    ASSIGN_OR_RETURN(const int other, Value(option));
    rules_[rule].choices.push_back({Name(other), {other}});
  }
  return absl::OkStatus();
}

absl::Status SchemaGrammar::FillLiterals(const Place& place, int rule) {
  const json::object& schema = place.schema.get_object();
  json::array values;
  if (Has(schema, "const")) {
    values.push_back(schema.at("const"));
  } else if (!schema.at("enum").is_array() || schema.at("enum").get_array().empty()) {
    return Wrong(place.path + ".enum", "must be a list of at least one value");
  } else {
    values = schema.at("enum").get_array();
  }
  const std::vector<absl::string_view> types =
      Has(schema, "type") ? TypesOf(schema) : std::vector<absl::string_view>();
  for (const json::value& value : values) {
    const absl::string_view type = TypeOf(value);
    const bool fits = types.empty() || absl::c_linear_search(types, type) ||
                      (type == "integer" && absl::c_linear_search(types, "number"));
    if (fits) rules_[rule].choices.push_back({Literal(value), {}});
  }
  return absl::OkStatus();
}

absl::Status SchemaGrammar::FillType(const Place& place, absl::string_view type, int rule) {
  if (type == "object") return FillObject(place, rule);
  if (type == "array") return FillArray(place, rule);
  if (type == "string") return FillString(place, rule);
  if (type == "integer") return FillInteger(place, rule);
  if (type == "number") return FillNumber(place, rule);
  if (type == "boolean") {
    rules_[rule].choices.push_back({R"("true" | "false")", {}});
    return absl::OkStatus();
  }
  if (type == "null") {
    rules_[rule].choices.push_back({R"("null")", {}});
    return absl::OkStatus();
  }
  return Wrong(place.path + ".type", absl::StrCat("\"", type, "\" is not a type"));
}

absl::Status SchemaGrammar::FillObject(const Place& place, int rule) {
  const json::object& schema = place.schema.get_object();
  const json::value* properties = Find(schema, "properties");
  if (properties != nullptr && !properties->is_object()) {
    return Wrong(place.path + ".properties", "must be an object");
  }
  const json::value* others = Find(schema, "additionalProperties");
  if (others != nullptr && !others->is_object() && !others->is_bool()) {
    return Wrong(place.path + ".additionalProperties", "must be a schema");
  }
  const json::value* required = Find(schema, "required");
  std::vector<std::string> required_names;
  if (required != nullptr) {
    if (!required->is_array()) return Wrong(place.path + ".required", "must be a list of names");
    for (const json::value& name : required->get_array()) {
      if (!name.is_string()) return Wrong(place.path + ".required", "must be a list of names");
      const std::string text(View(name.get_string()));
      if (!absl::c_linear_search(required_names, text)) required_names.push_back(text);
    }
  }
  std::vector<Property> declared;
  if (properties != nullptr) {
    for (const auto& [key, value] : properties->get_object()) {
      const std::string name(key.data(), key.size());
      const Place at = {value, absl::StrCat(place.path, ".properties.", name), place.depth + 1};
      ASSIGN_OR_RETURN(const int of, Value(at));
      declared.push_back({name, of, absl::c_linear_search(required_names, name)});
    }
  }
  // A name that is required and not declared is one of the others.
  for (const std::string& name : required_names) {
    if (properties != nullptr && Find(properties->get_object(), name) != nullptr) continue;
    int of = 0;
    if (others == nullptr) {
      of = Any();
    } else {
      ASSIGN_OR_RETURN(of, Value({*others, place.path + ".additionalProperties", place.depth + 1}));
    }
    declared.push_back({name, of, true});
  }
  if (declared.empty()) return FillMap(place, others, rule);
  ASSIGN_OR_RETURN(const auto least, Count(schema, place.path, "minProperties"));
  ASSIGN_OR_RETURN(const auto most, Count(schema, place.path, "maxProperties"));
  const auto all = static_cast<int64_t>(declared.size());
  const auto needed = static_cast<int64_t>(required_names.size());
  if (least.value_or(0) > std::max<int64_t>(needed, 1)) {
    return Wrong(place.path + ".minProperties",
                 "more than the number of required properties is not supported");
  }
  if (most.value_or(all) < all) {
    return Wrong(place.path + ".maxProperties",
                 "less than the number of declared properties is not supported");
  }
  return FillProperties(declared, least.value_or(0) == 0, rule);
}

// Two chains of rules: `first` as long as none was written, `rest` after one was. Each ends where
// all were offered:
//
//   first_i ::= property_i rest_i+1 | first_i+1 if it is optional
//   rest_i  ::= ", " property_i rest_i+1 | rest_i+1 if it is optional
absl::Status SchemaGrammar::FillProperties(const std::vector<Property>& properties,
                                           bool may_be_empty, int rule) {
  const std::string comma = json_ ? R"("," " "? )" : R"("," )";
  int first = NewRule(), rest = NewRule();
  if (may_be_empty) rules_[first].choices.push_back({R"("")", {}});
  rules_[rest].choices.push_back({R"("")", {}});
  for (size_t i = properties.size(); i-- > 0;) {
    const Property& property = properties[i];
    const std::string written =
        absl::StrCat(Key(property.name), Name(property.value), " ", Name(rest));
    const int next_first = NewRule(), next_rest = NewRule();
    rules_[next_first].choices.push_back({written, {property.value, rest}});
    rules_[next_rest].choices.push_back({comma + written, {property.value, rest}});
    if (!property.required) {
      rules_[next_first].choices.push_back({Name(first), {first}});
      rules_[next_rest].choices.push_back({Name(rest), {rest}});
    }
    first = next_first;
    rest = next_rest;
  }
  rules_[rule].choices.push_back({absl::StrCat(R"("{" )", Name(first), R"( "}")"), {first}});
  return absl::OkStatus();
}

absl::Status SchemaGrammar::FillMap(const Place& place, const json::value* values, int rule) {
  const json::object& schema = place.schema.get_object();
  ASSIGN_OR_RETURN(const auto least, Count(schema, place.path, "minProperties"));
  ASSIGN_OR_RETURN(const auto most, Count(schema, place.path, "maxProperties"));
  if (least.value_or(0) > 1) {
    return Wrong(place.path + ".minProperties",
                 "more than 1 is not supported where no property is declared");
  }
  if (least.value_or(0) == 0) rules_[rule].choices.push_back({R"("{}")", {}});
  const bool closed =
      (values != nullptr && values->is_bool() && !values->get_bool()) || Has(schema, "properties");
  if (most.value_or(1) == 0 || (closed && values == nullptr)) return absl::OkStatus();
  int of = 0;
  if (values == nullptr) {
    of = Any();
  } else {
    ASSIGN_OR_RETURN(of, Value({*values, place.path + ".additionalProperties", place.depth + 1}));
  }
  const int name = AnyString();
  const std::string pair = absl::StrCat(Name(name), json_ ? R"( ":" " "? )" : R"( ":" )", Name(of));
  const std::string comma = json_ ? R"("," " "? )" : R"("," )";
  const std::string more = Times(0, most ? std::optional<int64_t>(*most - 1) : std::nullopt);
  rules_[rule].choices.push_back(
      {absl::StrCat(R"("{" )", pair, " (", comma, pair, ")", more, R"( "}")"), {name, of}});
  return absl::OkStatus();
}

absl::Status SchemaGrammar::FillArray(const Place& place, int rule) {
  const json::object& schema = place.schema.get_object();
  if (const json::value* unique = Find(schema, "uniqueItems");
      unique != nullptr && !(unique->is_bool() && !unique->get_bool())) {
    return Wrong(place.path + ".uniqueItems", "this keyword is not supported");
  }
  ASSIGN_OR_RETURN(const auto least, Count(schema, place.path, "minItems"));
  ASSIGN_OR_RETURN(const auto most, Count(schema, place.path, "maxItems"));
  if (least.value_or(0) > kCountMax) {
    return Wrong(place.path + ".minItems",
                 absl::StrCat("more than ", kCountMax, " is not supported"));
  }
  if (most && *most < least.value_or(0)) {
    return Wrong(place.path + ".maxItems", "is less than minItems: no value satisfies this schema");
  }
  const json::value* prefix = Find(schema, "prefixItems");
  if (prefix != nullptr && !prefix->is_array()) {
    return Wrong(place.path + ".prefixItems", "must be a list of schemas");
  }
  const json::value* items = Find(schema, "items");
  if (items != nullptr && items->is_array()) {
    return Wrong(place.path + ".items", "must be a schema; a list of schemas is `prefixItems`");
  }
  int of = 0;
  if (items != nullptr) {
    ASSIGN_OR_RETURN(of, Value({*items, place.path + ".items", place.depth + 1}));
  } else {
    of = Any();
  }
  const std::string comma = json_ ? R"("," " "? )" : R"("," )";
  const int64_t prefixes = prefix == nullptr ? 0 : prefix->get_array().size();
  // What may follow the first `count` items, ends included: made from the last to the first.
  const auto tail = [&](int64_t count) {
    const int made = NewRule();
    if (count >= least.value_or(0)) rules_[made].choices.push_back({R"("]")", {}});
    return made;
  };
  // After all prefixes: any number of items of one kind.
  int after = tail(prefixes);
  if (!most || *most > prefixes) {
    const int64_t one = std::max<int64_t>(1, least.value_or(0) - prefixes);
    std::optional<int64_t> end = most;
    if (end) *end -= prefixes + 1;
    const std::string repeated =
        absl::StrCat("(", comma, Name(of), ")", Times(one - 1, end), R"( "]")");
    const std::string lead = prefixes > 0 ? comma : "";
    rules_[after].choices.push_back({absl::StrCat(lead, Name(of), " ", repeated), {of}});
  }
  for (int64_t i = prefixes; i-- > 0;) {
    const Place at = {prefix->get_array()[i], absl::StrCat(place.path, ".prefixItems[", i, "]"),
                      place.depth + 1};
    ASSIGN_OR_RETURN(const int item, Value(at));
    const int before = tail(i);
    if (!most || *most > i) {
      rules_[before].choices.push_back(
          {absl::StrCat(i > 0 ? comma : "", Name(item), " ", Name(after)), {item, after}});
    }
    after = before;
  }
  rules_[rule].choices.push_back({absl::StrCat(R"("[" )", Name(after)), {after}});
  return absl::OkStatus();
}

absl::Status SchemaGrammar::FillString(const Place& place, int rule) {
  const json::object& schema = place.schema.get_object();
  ASSIGN_OR_RETURN(const auto least, Count(schema, place.path, "minLength"));
  ASSIGN_OR_RETURN(const auto most, Count(schema, place.path, "maxLength"));
  std::string pattern;
  if (const json::value* format = Find(schema, "format");
      format != nullptr && format->is_string()) {
    pattern = std::string(PatternOfFormat(View(format->get_string())));
  }
  if (const json::value* given = Find(schema, "pattern"); given != nullptr) {
    if (!given->is_string()) return Wrong(place.path + ".pattern", "must be a string");
    if (!pattern.empty()) {
      return Wrong(place.path + ".pattern", "is not supported beside this `format`");
    }
    pattern = std::string(View(given->get_string()));
  }
  if (!pattern.empty()) {
    if (least || most) {
      return Wrong(absl::StrCat(place.path, least ? ".minLength" : ".maxLength"),
                   "is not supported beside `pattern` or `format`");
    }
    const absl::StatusOr<std::string> regex = EbnfRegex(pattern, json_);
    if (!regex.ok()) return Wrong(place.path + ".pattern", regex.status().message());
    rules_[rule].choices.push_back({Quoted(*regex), {}});
    return absl::OkStatus();
  }
  if (least.value_or(0) == 0 && !most) {
    const int any = AnyString();
    rules_[rule].choices.push_back({Name(any), {any}});
    return absl::OkStatus();
  }
  if (most && *most < least.value_or(0)) {
    return Wrong(place.path + ".maxLength",
                 "is less than minLength: no value satisfies this schema");
  }
  if (least.value_or(0) > kCountMax) {
    return Wrong(place.path + ".minLength",
                 absl::StrCat("more than ", kCountMax, " is not supported"));
  }
  rules_[rule].choices.push_back(
      {Quoted(absl::StrCat(json_ ? kJsonCharacter : kRawCharacter, Times(least.value_or(0), most))),
       {}});
  counts_characters_ |= json_;
  return absl::OkStatus();
}

absl::Status SchemaGrammar::FillInteger(const Place& place, int rule) {
  const json::object& schema = place.schema.get_object();
  ASSIGN_OR_RETURN(const NumberBounds bounds, Bounds(schema, place.path));
  ASSIGN_OR_RETURN(const auto step, Bound(schema, place.path, "multipleOf"));
  constexpr auto kMost = static_cast<double>(kGrammarIntegerMax);
  const double low_bound = std::ceil(bounds.low.value_or(-kMost)) +
                           (bounds.low_excluded && std::ceil(*bounds.low) == *bounds.low ? 1 : 0);
  const double high_bound =
      std::floor(bounds.high.value_or(kMost)) -
      (bounds.high_excluded && std::floor(*bounds.high) == *bounds.high ? 1 : 0);
  if (low_bound > high_bound || low_bound > kMost || high_bound < -kMost) {
    return Wrong(place.path, "no integer that this server writes lies within the bounds");
  }
  const auto limited = [](double bound) {
    if (bound >= kMost) return kGrammarIntegerMax;
    if (bound <= -kMost) return -kGrammarIntegerMax;
    return static_cast<int64_t>(bound);
  };
  const int64_t low = limited(low_bound), high = limited(high_bound);
  if (!step || *step == 1) {
    const bool open = !bounds.low && !bounds.high;
    rules_[rule].choices.push_back(
        {open ? R"("-"? ("0" | [1-9] [0-9]{0,17}))" : IntegerGrammar(low, high), {}});
    return absl::OkStatus();
  }
  if (*step < 1 || std::floor(*step) != *step || *step > kMost) {
    return Wrong(place.path + ".multipleOf", "must be a whole number above 0 for integers");
  }
  const auto of = static_cast<int64_t>(*step);
  const int64_t first = low / of + (low % of > 0 ? 1 : 0),
                last = high / of - (high % of < 0 ? 1 : 0);
  if (first > last) return Wrong(place.path, "no multiple lies within the bounds");
  if (last - first < kMultiplesMax) {
    for (int64_t i = first; i <= last; ++i) {
      rules_[rule].choices.push_back({absl::StrCat("\"", i * of, "\""), {}});
    }
    return absl::OkStatus();
  }
  std::string zeros = absl::StrCat(of).substr(1);
  if (!bounds.low && !bounds.high && absl::StrCat(of) == "1" + zeros &&
      zeros.find_first_not_of('0') == zeros.npos) {
    rules_[rule].choices.push_back(
        {absl::StrCat(R"("0" | "-"? [1-9] [0-9]{0,9} ")", zeros, "\""), {}});
    return absl::OkStatus();
  }
  return Wrong(place.path + ".multipleOf",
               absl::StrCat("is supported for powers of ten without bounds, and where at most ",
                            kMultiplesMax, " multiples lie within the bounds"));
}

absl::Status SchemaGrammar::FillNumber(const Place& place, int rule) {
  const json::object& schema = place.schema.get_object();
  ASSIGN_OR_RETURN(const auto step, Bound(schema, place.path, "multipleOf"));
  if (step) {
    if (*step < 1 || std::floor(*step) != *step) {
      return Wrong(place.path + ".multipleOf", "must be a whole number above 0");
    }
    return FillInteger(place, rule);
  }
  ASSIGN_OR_RETURN(const NumberBounds bounds, Bounds(schema, place.path));
  const absl::StatusOr<std::string> number = NumberGrammar(bounds);
  if (!number.ok()) return Wrong(place.path, number.status().message());
  rules_[rule].choices.push_back({*number, {}});
  return absl::OkStatus();
}

int SchemaGrammar::Shared(const std::string& name, std::vector<Choice> (SchemaGrammar::*make)()) {
  const auto known = shared_.find(name);
  if (known != shared_.end()) return known->second;
  const int rule = NewRule();
  shared_[name] = rule;
  // Made with the rule known, since any value holds any values.
  std::vector<Choice> choices = (this->*make)();
  rules_[rule].choices = std::move(choices);
  return rule;
}

int SchemaGrammar::Any() { return Shared("any", &SchemaGrammar::MakeAny); }
int SchemaGrammar::AnyObject() { return Shared("object", &SchemaGrammar::MakeAnyObject); }
int SchemaGrammar::AnyString() { return Shared("string", &SchemaGrammar::MakeAnyString); }

std::vector<SchemaGrammar::Choice> SchemaGrammar::MakeAny() {
  const int any = Any(), string = AnyString(), object = AnyObject();
  const std::string comma = json_ ? R"("," " "? )" : R"("," )";
  return {{R"("true" | "false" | "null")", {}},
          {*NumberGrammar({}), {}},
          {Name(string), {string}},
          {Name(object), {object}},
          {R"("[]")", {}},
          {absl::StrCat(R"("[" )", Name(any), " (", comma, Name(any), R"()* "]")"), {any}}};
}

std::vector<SchemaGrammar::Choice> SchemaGrammar::MakeAnyObject() {
  const int any = Any(), string = AnyString();
  const std::string comma = json_ ? R"("," " "? )" : R"("," )";
  const std::string pair =
      absl::StrCat(Name(string), json_ ? R"( ":" " "? )" : R"( ":" )", Name(any));
  return {{R"("{}")", {}},
          {absl::StrCat(R"("{" )", pair, " (", comma, pair, R"()* "}")"), {any, string}}};
}

// The body goes on by itself after escapes alone: masks of a run of plain characters are cheap.
std::vector<SchemaGrammar::Choice> SchemaGrammar::MakeAnyString() {
  if (!json_) return {{absl::StrCat(quote_, " ", kRawCharacter, "* ", quote_), {}}};
  const int body = NewRule();
  rules_[body].choices.push_back(
      {absl::StrCat(kJsonPlain, R"(* ("\"" | "\\" )", kJsonEscape, " ", Name(body), ")"), {}});
  return {{absl::StrCat(R"("\"" )", Name(body)), {body}}};
}

int SchemaGrammar::NewRule() {
  rules_.emplace_back();
  return static_cast<int>(rules_.size()) - 1;
}

std::string SchemaGrammar::Name(int rule) const {
  return absl::StrCat(json_ ? "facet_j" : "facet_c", rule);
}

std::string SchemaGrammar::Quoted(absl::string_view content) const {
  if (json_) return absl::StrCat(R"("\"" )", content, R"( "\"")");
  return absl::StrCat(quote_, " ", content, " ", quote_);
}

std::string SchemaGrammar::Key(absl::string_view name) const {
  if (json_) return absl::StrCat(EbnfString(json::serialize(Text(name))), R"( ":" " "? )");
  const bool bare = !name.empty() && absl::c_all_of(name, [](char c) {
    return absl::ascii_isalnum(c) || c == '_' || c == '-' || c == '.';
  });
  return absl::StrCat(bare ? EbnfString(name) : Quoted(EbnfString(name)), R"( ":" )");
}

std::string SchemaGrammar::Literal(const json::value& value) const {
  // 15 digits are exact, whereas Boost's parser of JSON is off by a last bit here and there.
  if (value.is_double()) return EbnfString(absl::StrFormat("%.15g", value.get_double()));
  if (value.is_string()) {
    return json_ ? EbnfString(json::serialize(value))
                 : Quoted(EbnfString(View(value.get_string())));
  }
  std::vector<std::string> parts;
  if (value.is_array()) {
    for (const json::value& item : value.get_array()) parts.push_back(Literal(item));
    return absl::StrCat(R"("[" )", absl::StrJoin(parts, R"( "," )"), R"( "]")");
  }
  if (value.is_object()) {
    for (const auto& [key, item] : value.get_object()) {
      parts.push_back(absl::StrCat(Key({key.data(), key.size()}), Literal(item)));
    }
    return absl::StrCat(R"("{" )", absl::StrJoin(parts, R"( "," )"), R"( "}")");
  }
  return EbnfString(json::serialize(value));
}

void SchemaGrammar::FindPossible() {
  for (bool changed = true; changed;) {
    changed = false;
    for (Rule& rule : rules_) {
      if (rule.possible) continue;
      rule.possible = absl::c_any_of(rule.choices, [&](const Choice& choice) {
        return absl::c_all_of(choice.rules, [&](int other) { return rules_[other].possible; });
      });
      changed |= rule.possible;
    }
  }
  for (Rule& rule : rules_) {
    std::erase_if(rule.choices, [&](const Choice& choice) {
      return !absl::c_all_of(choice.rules, [&](int other) { return rules_[other].possible; });
    });
  }
}

std::string EbnfString(absl::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      absl::StrAppend(&quoted, "\\", std::string(1, c));
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      absl::StrAppend(&quoted, absl::StrFormat("\\x%02x", static_cast<unsigned char>(c)));
    } else {
      quoted += c;
    }
  }
  return quoted + "\"";
}

absl::StatusOr<std::string> EbnfRegex(absl::string_view pattern, bool json_string) {
  if (pattern.size() > kPatternBytesMax) {
    return absl::InvalidArgumentError(absl::StrCat("the pattern has ", pattern.size(),
                                                   " bytes, the limit is ", kPatternBytesMax));
  }
  if (absl::StartsWith(pattern, "^")) pattern.remove_prefix(1);
  if (absl::EndsWith(pattern, "$") && !absl::EndsWith(pattern, "\\$")) pattern.remove_suffix(1);
  int depth = 0;
  bool in_class = false;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '\\') {
      if (++i == pattern.size())
        return absl::InvalidArgumentError("the pattern ends with a backslash");
      const char escaped = pattern[i];
      if (absl::ascii_isalnum(escaped) && !absl::StrContains("dDwWsSnrtfvux", escaped)) {
        return absl::InvalidArgumentError(absl::StrCat("\\", std::string(1, escaped), " at byte ",
                                                       i - 1, " of the pattern is not supported"));
      }
    } else if (in_class) {
      in_class = c != ']';
    } else if (c == '[') {
      in_class = true;
    } else if (c == '(') {
      ++depth;
      if (pattern.substr(i + 1, 1) == "?" && pattern.substr(i + 1, 2) != "?:") {
        return absl::InvalidArgumentError(
            absl::StrCat("the group at byte ", i, " of the pattern is not supported"));
      }
    } else if (c == ')') {
      --depth;
    } else if (c == '^' || c == '$') {
      return absl::InvalidArgumentError(
          absl::StrCat("the anchor at byte ", i, " of the pattern is not supported"));
    }
    if (depth < 0 || depth > kDepthMax) break;
  }
  if (depth != 0 || in_class) {
    return absl::InvalidArgumentError("the pattern's brackets do not pair or are too many");
  }
  return absl::StrCat("Regex(", EbnfString(pattern), ", flags=\"u\"",
                      json_string ? ", json_string=true)" : ")");
}

}  // namespace facet
