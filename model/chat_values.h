#ifndef FACET_MODEL_CHAT_VALUES_H_
#define FACET_MODEL_CHAT_VALUES_H_

#include <boost/json/fwd.hpp>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace facet {

// Values and tool declarations in the syntax of Gemma 4's prompts, for chat_template.

// Whether the keys of a mapping are written as they are (in calls and responses) or as strings (in
// schemas).
enum class KeyStyle : uint8_t { kBare, kQuoted };

// Appends a string as <|"|>text<|"|>, a number as Python writes it, a list as [v,v], a mapping as
// {k:v,k:v} with its keys sorted without regard to (ASCII) case.
void AppendValue(const boost::json::value& value, KeyStyle keys, std::string& text);

// Appends "declaration:NAME{...}" of one entry of `tools`, which `field` names in errors.
absl::Status AppendToolDeclaration(const boost::json::value& tool, const std::string& field,
                                   std::string& text);

// --- Reading requests: an error names the field. ---

absl::Status BadField(absl::string_view field, absl::string_view what);

absl::string_view AsView(const boost::json::string& text);

// The string under `key`; empty if it is absent or null.
absl::StatusOr<absl::string_view> GetText(const boost::json::object& object, const char* key,
                                          absl::string_view field);

// The object under "function" of an entry of `tools` or `tool_calls`.
absl::StatusOr<const boost::json::object*> GetFunction(const boost::json::value& entry,
                                                       absl::string_view field);

}  // namespace facet

#endif  // FACET_MODEL_CHAT_VALUES_H_
