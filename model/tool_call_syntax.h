#ifndef FACET_MODEL_TOOL_CALL_SYNTAX_H_
#define FACET_MODEL_TOOL_CALL_SYNTAX_H_

#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace facet {

// How a <|"|> piece is written in the text of a call. No UTF-8 has this byte, so a string that
// merely spells <|"|> is no quote.
inline constexpr char kToolCallQuote = '\xFF';

struct ToolCall {
  std::string name;
  std::string arguments;  // The JSON text of an object.
};

// Reads what stands between <|tool_call> and <tool_call|>: call:NAME{key:value,...}. Nothing if it
// does not parse; lists and mappings may be 64 deep.
//
// A key is bare up to its ':', or quoted. A value is a quoted string, a mapping {...}, a list [...]
// or bare up to ',', '}' or ']': then true, false, null (or none, nil; in any case of letters), a
// number if JSON has such a number, and else a string. White space and commas around entries are
// skipped. A quote that is not closed holds for the rest of the call.
std::optional<ToolCall> ParseToolCall(absl::string_view text);

}  // namespace facet

#endif  // FACET_MODEL_TOOL_CALL_SYNTAX_H_
