#include "ops/cli/json_lines.h"

#include <boost/json.hpp>
#include <iostream>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "model/json.h"

namespace facet {

namespace json = boost::json;

absl::Status ForEachInputLine(
    const std::function<absl::Status(const boost::json::object&)>& handle) {
  std::string text;
  for (int number = 1; std::getline(std::cin, text); ++number) {
    if (absl::StripAsciiWhitespace(text).empty()) continue;
    ASSIGN_OR_RETURN(const json::value line, ParseJson(text, absl::StrCat("line ", number)));
    if (!line.is_object()) {
      return absl::InvalidArgumentError(absl::StrCat("line ", number, ": not a JSON object"));
    }
    if (absl::Status status = handle(line.get_object()); !status.ok()) {
      return absl::Status(status.code(), absl::StrCat("line ", number, ": ", status.message()));
    }
  }
  return absl::OkStatus();
}

void PrintLine(const boost::json::object& line) { std::cout << json::serialize(line) << std::endl; }

absl::StatusOr<absl::string_view> StringField(const boost::json::object& line,
                                              absl::string_view name) {
  const json::value* value = line.if_contains({name.data(), name.size()});
  if (value == nullptr || !value->is_string()) {
    return absl::InvalidArgumentError(absl::StrCat("'", name, "' is not a string"));
  }
  const json::string& text = value->get_string();
  return absl::string_view(text.data(), text.size());
}

absl::StatusOr<bool> BoolField(const boost::json::object& line, absl::string_view name,
                               bool otherwise) {
  const json::value* value = line.if_contains({name.data(), name.size()});
  if (value == nullptr) return otherwise;
  if (!value->is_bool()) {
    return absl::InvalidArgumentError(absl::StrCat("'", name, "' is not a boolean"));
  }
  return value->get_bool();
}

}  // namespace facet
