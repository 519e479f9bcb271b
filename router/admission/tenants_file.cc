#include "router/admission/tenants_file.h"

#include <algorithm>
#include <boost/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "router/api/api_error.h"
#include "router/api/json_fields.h"

namespace facet {
namespace {

namespace json = boost::json;

constexpr size_t kTenantsMax = 10'000;
constexpr size_t kKeysMax = 1'000;  // Of one tenant.
constexpr size_t kNameBytesMax = 64;
constexpr int64_t kLimitMax = int64_t{1} << 40;
constexpr int64_t kPriorityMax = 1'000'000;

absl::Status CheckKnown(const json::object& object, absl::string_view path,
                        std::initializer_list<absl::string_view> names) {
  for (const auto& [key, value] : object) {
    const absl::string_view name(key.data(), key.size());
    if (absl::c_linear_search(names, name)) continue;
    const std::string field = absl::StrCat(path, name);
    return InvalidParam(field, absl::StrCat("`", field, "` is unknown here; there are ",
                                            absl::StrJoin(names, ", "), "."));
  }
  return absl::OkStatus();
}

bool IsName(absl::string_view name) {
  return !name.empty() && name.size() <= kNameBytesMax && absl::c_all_of(name, [](char c) {
    return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-';
  });
}

bool IsDigest(absl::string_view text) {
  return text.size() == 2 * kSha256Bytes && absl::c_all_of(text, [](char c) {
           return absl::ascii_isdigit(c) || (c >= 'a' && c <= 'f');
         });
}

// The strings of a list; `target` stays as it is where the field is absent.
absl::Status ReadStrings(const JsonFields& fields, absl::string_view name, size_t count_max,
                         std::vector<std::string>& target) {
  ASSIGN_OR_RETURN(const json::array* list, fields.Array(name));
  if (list == nullptr) return absl::OkStatus();
  if (list->size() > count_max) {
    return fields.Wrong(name, absl::StrCat("a list of at most ", count_max));
  }
  target.clear();
  for (size_t i = 0; i < list->size(); ++i) {
    if (!(*list)[i].is_string()) {
      return WrongValue(absl::StrCat(fields.PathOf(name), "[", i, "]"), "a string", (*list)[i]);
    }
    target.emplace_back(TextView((*list)[i].get_string()));
  }
  return absl::OkStatus();
}

absl::Status ReadKeys(const JsonFields& fields, TenantOptions& tenant) {
  std::vector<std::string> keys;
  RETURN_IF_ERROR(ReadStrings(fields, "keys", kKeysMax, keys));
  for (size_t i = 0; i < keys.size(); ++i) {
    // What stands there may be a key in plain text, so it is not repeated.
    if (!IsDigest(keys[i])) {
      const std::string field = absl::StrCat(fields.PathOf("keys"), "[", i, "]");
      return InvalidParam(field,
                          absl::StrCat("`", field,
                                       "` must be the SHA-256 of a key: 64 hexadecimal "
                                       "digits in lower case, as `printf %s KEY | sha256sum` "
                                       "gives them."));
    }
    tenant.key_digests.push_back(absl::HexStringToBytes(keys[i]));
  }
  return absl::OkStatus();
}

absl::Status ReadPriority(const JsonFields& fields, TenantOptions& tenant) {
  std::optional<int64_t> least, most;
  RETURN_IF_ERROR(fields.Integer("priority_min", -kPriorityMax, kPriorityMax, &least));
  RETURN_IF_ERROR(fields.Integer("priority_max", -kPriorityMax, kPriorityMax, &most));
  tenant.priority_min = least.value_or(std::min<int64_t>(0, most.value_or(0)));
  tenant.priority_max = most.value_or(std::max<int64_t>(0, tenant.priority_min));
  if (tenant.priority_min <= tenant.priority_max) return absl::OkStatus();
  return fields.Wrong("priority_min", "at most `priority_max`");
}

absl::StatusOr<TenantOptions> ReadTenant(const json::object& object, const std::string& path) {
  RETURN_IF_ERROR(
      CheckKnown(object, path,
                 {"name", "keys", "weight", "requests_per_minute", "tokens_per_minute",
                  "concurrent_requests", "priority_min", "priority_max", "models", "share_cache"}));
  const JsonFields fields(object, path);
  TenantOptions tenant;
  RETURN_IF_ERROR(fields.RequiredString("name", &tenant.name));
  if (!IsName(tenant.name)) {
    return fields.Wrong(
        "name", absl::StrCat("of letters, digits, '.', '_' and '-', at most ", kNameBytesMax));
  }
  RETURN_IF_ERROR(ReadKeys(fields, tenant));
  std::optional<double> weight;
  RETURN_IF_ERROR(fields.Number("weight", 0.01, 1000, &weight));
  tenant.weight = weight.value_or(tenant.weight);
  for (const auto& [name, target] :
       {std::pair("requests_per_minute", &tenant.requests_per_minute),
        std::pair("tokens_per_minute", &tenant.tokens_per_minute),
        std::pair("concurrent_requests", &tenant.concurrent_requests)}) {
    std::optional<int64_t> limit;
    RETURN_IF_ERROR(fields.Integer(name, 1, kLimitMax, &limit));
    *target = limit.value_or(0);
  }
  RETURN_IF_ERROR(ReadPriority(fields, tenant));
  RETURN_IF_ERROR(ReadStrings(fields, "models", kTenantsMax, tenant.models));
  RETURN_IF_ERROR(fields.Bool("share_cache", &tenant.share_cache));
  return tenant;
}

}  // namespace

absl::StatusOr<std::vector<TenantOptions>> ParseTenantsFile(absl::string_view text) {
  ASSIGN_OR_RETURN(const json::object object, ParseJsonObject(text));
  RETURN_IF_ERROR(CheckKnown(object, "", {"tenants"}));
  const JsonFields fields(object, "");
  ASSIGN_OR_RETURN(const json::array* list, fields.Array("tenants"));
  if (list == nullptr) return InvalidParam("tenants", "`tenants` is required: a list of objects.");
  if (list->size() > kTenantsMax) {
    return fields.Wrong("tenants", absl::StrCat("a list of at most ", kTenantsMax));
  }
  std::vector<TenantOptions> tenants;
  std::set<std::string> names, digests;
  for (size_t i = 0; i < list->size(); ++i) {
    const std::string path = absl::StrCat("tenants[", i, "]");
    if (!(*list)[i].is_object()) return WrongValue(path, "an object", (*list)[i]);
    ASSIGN_OR_RETURN(TenantOptions tenant,
                     ReadTenant((*list)[i].get_object(), absl::StrCat(path, ".")));
    if (!names.insert(tenant.name).second) {
      return InvalidParam(absl::StrCat(path, ".name"),
                          absl::StrCat("`", path, ".name` comes twice: ", tenant.name, "."));
    }
    for (size_t key = 0; key < tenant.key_digests.size(); ++key) {
      if (digests.insert(tenant.key_digests[key]).second) continue;
      const std::string field = absl::StrCat(path, ".keys[", key, "]");
      return InvalidParam(field, absl::StrCat("`", field, "` comes twice in the file."));
    }
    tenants.push_back(std::move(tenant));
  }
  return tenants;
}

std::string DigestOfKey(absl::string_view api_key) { return Sha256({api_key}); }

}  // namespace facet
