// The text of a tool call: nothing, or a name and arguments that are the JSON text of an object.

#include <boost/json.hpp>

#include "base/check.h"
#include "model/tool_call_syntax.h"
#include "model/utf8.h"
#include "tests/fuzz/fuzz_target.h"

namespace facet {

// ParseToolCall is given text of whole characters, quotes apart.
bool IsTextWithQuotes(absl::string_view text) {
  while (!text.empty()) {
    const size_t end = std::min(text.find(kToolCallQuote), text.size());
    if (!IsUtf8(text.substr(0, end))) return false;
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return true;
}

}  // namespace facet

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view text = facet::AsText(data, size);
  const auto call = facet::ParseToolCall(text);
  if (!call.has_value()) return 0;
  CHECK(!call->name.empty());
  // A control character takes six bytes in JSON.
  CHECK_LE(call->arguments.size(), 8 * size);
  if (!facet::IsTextWithQuotes(text)) return 0;
  boost::json::error_code error;
  boost::json::parse_options options;
  options.max_depth = 128;
  const boost::json::value value = boost::json::parse(call->arguments, error, {}, options);
  CHECK(!error) << error.message() << ": " << call->arguments;
  CHECK(value.is_object()) << call->arguments;
  return 0;
}
