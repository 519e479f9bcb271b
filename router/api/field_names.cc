#include "router/api/field_names.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "router/api/api_error.h"

namespace facet {
namespace {

// Whether `name` is `field` or has it as a part: tools[0] of tools, content of messages[1].content.
bool Covers(absl::string_view name, absl::string_view field) {
  if (!absl::StartsWith(field, name)) return false;
  return field.size() == name.size() || field[name.size()] == '.' || field[name.size()] == '[';
}

}  // namespace

void FieldNames::Add(absl::string_view chat, absl::string_view own) {
  names_.emplace_back(std::string(chat), std::string(own));
}

std::string FieldNames::OwnNameOf(absl::string_view field) const {
  const std::pair<std::string, std::string>* best = nullptr;
  for (const auto& entry : names_) {
    if (!Covers(entry.first, field)) continue;
    if (best == nullptr || entry.first.size() > best->first.size()) best = &entry;
  }
  return best == nullptr ? "" : absl::StrCat(best->second, field.substr(best->first.size()));
}

absl::Status FieldNames::Rename(const absl::Status& status) const {
  const std::string field = ParamOf(status);
  if (status.ok() || field.empty()) return status;
  const std::string own = OwnNameOf(field);
  if (own.empty()) return status;
  // Messages begin with the field, or quote it.
  std::string message =
      absl::StrReplaceAll(status.message(), {{absl::StrCat("`", field), absl::StrCat("`", own)}});
  if (absl::StartsWith(message, field)) message = own + message.substr(field.size());
  return WithParam(absl::Status(status.code(), message), own, CodeOf(status));
}

}  // namespace facet
