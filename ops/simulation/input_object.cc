#include "ops/simulation/input_object.h"

#include <algorithm>
#include <boost/json.hpp>
#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "model/json.h"

namespace facet {
namespace {

namespace json = boost::json;

absl::string_view View(const json::string& text) { return {text.data(), text.size()}; }

// A whole number; 3.0 is one.
bool ToInteger(const json::value& value, int64_t* target) {
  if (value.is_int64()) {
    *target = value.get_int64();
    return true;
  }
  if (value.is_double() && std::abs(value.get_double()) < 9e15 &&
      value.get_double() == static_cast<double>(static_cast<int64_t>(value.get_double()))) {
    *target = static_cast<int64_t>(value.get_double());
    return true;
  }
  return false;
}

}  // namespace

InputObject::InputObject(std::unique_ptr<json::object> object, std::string where)
    : object_(std::move(object)), where_(std::move(where)) {}
InputObject::InputObject(InputObject&& other) noexcept = default;
InputObject::~InputObject() = default;

absl::StatusOr<InputObject> InputObject::Parse(absl::string_view text, std::string where) {
  absl::StatusOr<json::value> parsed = ParseJson(text, where);
  if (!parsed.ok()) return absl::InvalidArgumentError(parsed.status().message());
  if (!parsed->is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": is no JSON object"));
  }
  return InputObject(std::make_unique<json::object>(std::move(parsed->get_object())),
                     std::move(where));
}

absl::Status InputObject::CheckNames(std::initializer_list<absl::string_view> names) const {
  for (const auto& field : *object_) {
    const absl::string_view name(field.key().data(), field.key().size());
    if (std::find(names.begin(), names.end(), name) == names.end()) {
      return Wrong(name, "is not a field that is known here");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<double> InputObject::Number(absl::string_view name, double least,
                                           double most) const {
  const json::value* value = Find(name);
  if (value == nullptr) return Wrong(name, "is missing");
  const double number = value->is_number() ? value->to_number<double>() : least - 1;
  if (!(number >= least && number <= most)) {
    return Wrong(name, absl::StrCat("must be a number from ", least, " to ", most, ", but is ",
                                    std::string(json::serialize(*value))));
  }
  return number;
}

absl::StatusOr<double> InputObject::Number(absl::string_view name, double least, double most,
                                           double otherwise) const {
  if (Find(name) == nullptr) return otherwise;
  return Number(name, least, most);
}

absl::StatusOr<int64_t> InputObject::Integer(absl::string_view name, int64_t least,
                                             int64_t most) const {
  const json::value* value = Find(name);
  if (value == nullptr) return Wrong(name, "is missing");
  int64_t number;
  if (!ToInteger(*value, &number) || number < least || number > most) {
    return Wrong(name, absl::StrCat("must be a whole number from ", least, " to ", most,
                                    ", but is ", std::string(json::serialize(*value))));
  }
  return number;
}

absl::StatusOr<int64_t> InputObject::Integer(absl::string_view name, int64_t least, int64_t most,
                                             int64_t otherwise) const {
  if (Find(name) == nullptr) return otherwise;
  return Integer(name, least, most);
}

absl::StatusOr<std::string> InputObject::String(absl::string_view name) const {
  const json::value* value = Find(name);
  if (value == nullptr) return Wrong(name, "is missing");
  if (!value->is_string() || value->get_string().empty()) {
    return Wrong(name, "must be a string that is not empty");
  }
  return std::string(View(value->get_string()));
}

absl::StatusOr<std::string> InputObject::String(absl::string_view name,
                                                std::string otherwise) const {
  if (Find(name) == nullptr) return otherwise;
  return String(name);
}

absl::StatusOr<std::vector<InputObject::NamedCount>> InputObject::NamedCounts(
    absl::string_view name, int64_t most) const {
  const json::value* value = Find(name);
  if (value == nullptr) return Wrong(name, "is missing");
  if (!value->is_array()) return Wrong(name, "must be a list");
  std::vector<NamedCount> counts;
  for (const json::value& item : value->get_array()) {
    int64_t count = 0;
    const json::array* pair = item.if_array();
    if (pair == nullptr || pair->size() != 2 || !(*pair)[0].is_string() ||
        !ToInteger((*pair)[1], &count) || count < 1 || count > most) {
      return Wrong(absl::StrCat(name, "[", counts.size(), "]"),
                   absl::StrCat("must be a name and a number from 1 to ", most));
    }
    counts.emplace_back(View((*pair)[0].get_string()), count);
  }
  return counts;
}

absl::StatusOr<std::vector<int64_t>> InputObject::Integers(absl::string_view name) const {
  const json::value* value = Find(name);
  if (value == nullptr) return Wrong(name, "is missing");
  if (!value->is_array()) return Wrong(name, "must be a list");
  std::vector<int64_t> integers;
  for (const json::value& item : value->get_array()) {
    int64_t integer;
    if (!ToInteger(item, &integer) || integer < 0) {
      return Wrong(absl::StrCat(name, "[", integers.size(), "]"),
                   "must be a whole number of at least 0");
    }
    integers.push_back(integer);
  }
  return integers;
}

absl::Status InputObject::Wrong(absl::string_view name, absl::string_view message) const {
  return absl::InvalidArgumentError(absl::StrCat(where_, ": `", name, "` ", message));
}

const json::value* InputObject::Find(absl::string_view name) const {
  return object_->if_contains({name.data(), name.size()});
}

absl::Status ForEachInputObject(
    absl::string_view text, absl::string_view file,
    const std::function<absl::Status(const InputObject& object)>& handle) {
  int number = 0;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    if (absl::StripAsciiWhitespace(line).empty()) continue;
    ASSIGN_OR_RETURN(const InputObject object,
                     InputObject::Parse(line, absl::StrCat(file, " line ", number)));
    RETURN_IF_ERROR(handle(object));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadInputFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  if (!file || !(text << file.rdbuf())) {
    return absl::NotFoundError(absl::StrCat("cannot read ", path, ", or it is empty"));
  }
  return text.str();
}

}  // namespace facet
