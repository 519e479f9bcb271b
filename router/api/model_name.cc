#include "router/api/model_name.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "router/api/api_error.h"

namespace facet {

absl::StatusOr<std::string> AdapterOfModelName(const ServedModel& model, const std::string& name) {
  if (name.empty() || name == model.name) return std::string();
  absl::string_view rest = name;
  if (absl::ConsumePrefix(&rest, model.name) && absl::ConsumePrefix(&rest, ":") && !rest.empty()) {
    return std::string(rest);
  }
  return ModelNotFound(model, name);
}

std::string NameWithAdapter(const ServedModel& model, absl::string_view adapter) {
  return adapter.empty() ? model.name : absl::StrCat(model.name, ":", adapter);
}

absl::Status ModelNotFound(const ServedModel& model, absl::string_view name) {
  const std::string message =
      absl::StrCat("The model `", name, "` does not exist; this server has `", model.name,
                   "`, and GET /v1/models lists its adapters.");
  return WithParam(absl::NotFoundError(message), "model", "model_not_found");
}

}  // namespace facet
