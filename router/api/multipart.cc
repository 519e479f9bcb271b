#include "router/api/multipart.h"

#include <optional>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"

namespace facet {
namespace {

constexpr size_t kFieldsMax = 32;
constexpr size_t kHeaderBytesMax = 8 << 10;
constexpr size_t kBoundaryBytesMax = 70;  // RFC 2046, 5.1.1

absl::Status Broken(absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("The multipart/form-data body ", why, "."));
}

// A header's value in its parts: "form-data; name=\"file\"; filename=\"a.wav\"".
class HeaderValue {
 public:
  // False if it is not well-formed.
  bool Parse(absl::string_view text) {
    const size_t end = text.find(';');
    type_ = absl::AsciiStrToLower(absl::StripAsciiWhitespace(text.substr(0, end)));
    text = end == text.npos ? "" : text.substr(end + 1);
    while (!(text = absl::StripLeadingAsciiWhitespace(text)).empty()) {
      const size_t equals = text.find('=');
      if (equals == text.npos) return false;
      const std::string name =
          absl::AsciiStrToLower(absl::StripAsciiWhitespace(text.substr(0, equals)));
      text.remove_prefix(equals + 1);
      std::optional<std::string> value = TakeValue(text);
      if (!value.has_value()) return false;
      parameters_.emplace_back(name, *std::move(value));
    }
    return true;
  }

  const std::string& type() const { return type_; }
  // Null if it is not there.
  const std::string* Find(absl::string_view name) const {
    const auto found =
        absl::c_find_if(parameters_, [&](const auto& entry) { return entry.first == name; });
    return found == parameters_.end() ? nullptr : &found->second;
  }

 private:
  // Takes a parameter's value, in quotes or not, and the semicolon behind it.
  static std::optional<std::string> TakeValue(absl::string_view& text) {
    std::string value;
    if (!absl::ConsumePrefix(&text, "\"")) {
      const size_t end = text.find(';');
      value = std::string(absl::StripAsciiWhitespace(text.substr(0, end)));
      text = end == text.npos ? "" : text.substr(end + 1);
      return value;
    }
    for (;;) {
      if (text.empty()) return std::nullopt;
      const char c = text[0];
      text.remove_prefix(1);
      if (c == '"') break;
      // A quote within quotes is escaped; browsers leave other backslashes as they are.
      if (c == '\\' && absl::StartsWith(text, "\"")) {
        value += '"';
        text.remove_prefix(1);
      } else {
        value += c;
      }
    }
    text = absl::StripLeadingAsciiWhitespace(text);
    if (!text.empty() && !absl::ConsumePrefix(&text, ";")) return std::nullopt;
    return value;
  }

  std::string type_;
  std::vector<std::pair<std::string, std::string>> parameters_;
};

absl::StatusOr<std::string> BoundaryOf(absl::string_view content_type) {
  HeaderValue header;
  if (!header.Parse(content_type) || header.type() != "multipart/form-data") {
    return absl::InvalidArgumentError("The Content-Type must be multipart/form-data.");
  }
  const std::string* boundary = header.Find("boundary");
  const auto allowed = [](char c) {
    return absl::ascii_isalnum(c) || absl::StrContains("'()+_,-./:=? ", c);
  };
  if (boundary == nullptr || boundary->empty() || boundary->size() > kBoundaryBytesMax ||
      boundary->back() == ' ' || !absl::c_all_of(*boundary, allowed)) {
    return absl::InvalidArgumentError(
        "The Content-Type multipart/form-data has no boundary that is allowed.");
  }
  return *boundary;
}

absl::Status ReadHeaderLine(absl::string_view line, FormField& field) {
  const size_t colon = line.find(':');
  if (colon == line.npos) return Broken("has a header line without a colon");
  const absl::string_view name = line.substr(0, colon);
  const absl::string_view value = absl::StripAsciiWhitespace(line.substr(colon + 1));
  if (absl::EqualsIgnoreCase(name, "Content-Transfer-Encoding") &&
      !absl::EqualsIgnoreCase(value, "binary") && !absl::EqualsIgnoreCase(value, "8bit") &&
      !absl::EqualsIgnoreCase(value, "7bit")) {
    return Broken("has a field that is not sent as plain bytes");
  }
  if (!absl::EqualsIgnoreCase(name, "Content-Disposition")) return absl::OkStatus();
  HeaderValue disposition;
  if (!disposition.Parse(value) || disposition.type() != "form-data") {
    return Broken("has a Content-Disposition that is not form-data");
  }
  if (const std::string* text = disposition.Find("name")) field.name = *text;
  if (const std::string* text = disposition.Find("filename")) field.filename = *text;
  return absl::OkStatus();
}

// Takes the header of a field, up to and with the empty line.
absl::Status TakeHeader(absl::string_view& rest, FormField& field) {
  const size_t end = rest.substr(0, kHeaderBytesMax).find("\r\n\r\n");
  if (end == rest.npos) {
    return Broken(
        absl::StrCat("has a field without a header that ends within ", kHeaderBytesMax, " bytes"));
  }
  for (const absl::string_view line : absl::StrSplit(rest.substr(0, end), "\r\n")) {
    RETURN_IF_ERROR(ReadHeaderLine(line, field));
  }
  if (field.name.empty()) return Broken("has a field without a name");
  rest.remove_prefix(end + 4);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<FormField>> ParseMultipart(absl::string_view content_type,
                                                      absl::string_view body) {
  ASSIGN_OR_RETURN(const std::string boundary, BoundaryOf(content_type));
  // Every field is followed by this, the last with two hyphens behind it.
  const std::string delimiter = absl::StrCat("\r\n--", boundary);
  absl::string_view rest = body;
  if (!absl::ConsumePrefix(&rest, absl::string_view(delimiter).substr(2))) {
    return Broken("does not begin with its boundary");
  }
  std::vector<FormField> fields;
  while (!absl::StartsWith(rest, "--")) {
    if (!absl::ConsumePrefix(&rest, "\r\n")) return Broken("has no line break after a boundary");
    if (fields.size() == kFieldsMax) {
      return Broken(absl::StrCat("has more than ", kFieldsMax, " fields"));
    }
    FormField& field = fields.emplace_back();
    RETURN_IF_ERROR(TakeHeader(rest, field));
    const size_t end = rest.find(delimiter);
    if (end == rest.npos) return Broken("does not end with its boundary");
    field.value = rest.substr(0, end);
    rest.remove_prefix(end + delimiter.size());
  }
  rest.remove_prefix(2);
  if (!rest.empty() && rest != "\r\n") return Broken("goes on after its last boundary");
  return fields;
}

}  // namespace facet
