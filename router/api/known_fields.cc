#include "router/api/known_fields.h"

#include <boost/json.hpp>

#include "absl/status/statusor.h"
#include "absl/strings/strip.h"
#include "base/check.h"
#include "model/json.h"

namespace facet {
namespace {

namespace json = boost::json;

constexpr size_t kTakenMax = 256;

// The properties of an object's schema, and of those that it is made of.
void AddProperties(const json::object& schemas, const json::object& schema,
                   std::set<std::string>& names) {
  if (const json::value* reference = schema.if_contains("$ref")) {
    std::string name(reference->as_string());
    name = std::string(absl::StripPrefix(name, "#/components/schemas/"));
    AddProperties(schemas, schemas.at(name).as_object(), names);
  }
  for (const char* part : {"allOf", "anyOf", "oneOf"}) {
    const json::value* list = schema.if_contains(part);
    if (list == nullptr) continue;
    for (const json::value& each : list->as_array()) {
      AddProperties(schemas, each.as_object(), names);
    }
  }
  const json::value* properties = schema.if_contains("properties");
  if (properties == nullptr) return;
  for (const auto& property : properties->as_object()) names.emplace(property.key());
}

}  // namespace

KnownFields::KnownFields(absl::string_view openapi) {
  const absl::StatusOr<json::value> document = ParseJson(openapi, "the OpenAPI document");
  CHECK_OK(document);
  const json::object& schemas = document->at("components").at("schemas").as_object();
  for (const auto& [path, operations] : document->at("paths").as_object()) {
    const json::value* post = operations.as_object().if_contains("post");
    if (post == nullptr) continue;
    // A body of another kind, such as a form, is not read here.
    const json::object& content = post->at("requestBody").at("content").as_object();
    const json::value* body = content.if_contains("application/json");
    if (body == nullptr) continue;
    AddProperties(schemas, body->at("schema").as_object(), names_[std::string(path)]);
  }
}

std::vector<std::string> KnownFields::TakeUnknown(const std::string& path, absl::string_view body) {
  std::vector<std::string> unknown;
  const auto known = names_.find(path);
  const absl::StatusOr<json::value> parsed = ParseJson(body, "the body");
  if (known == names_.end() || !parsed.ok() || !parsed->is_object()) return unknown;
  absl::MutexLock lock(&mutex_);
  for (const auto& field : parsed->get_object()) {
    const std::string name(field.key());
    if (known->second.count(name) > 0 || taken_.size() >= kTakenMax) continue;
    if (taken_.emplace(path, name).second) unknown.push_back(name);
  }
  return unknown;
}

}  // namespace facet
