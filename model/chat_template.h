#ifndef FACET_MODEL_CHAT_TEMPLATE_H_
#define FACET_MODEL_CHAT_TEMPLATE_H_

#include <boost/json/fwd.hpp>
#include <string>

#include "absl/status/statusor.h"

namespace facet {

// Gemma 4's chat template (the July 2026 revision) as code: the arguments of a chat request to the
// prompt's text, <bos> included, so encode it without adding another. Thread-safe, no state.
//
// Reads `messages`, `tools`, `enable_thinking` (false if absent), `add_generation_prompt` (true)
// and `preserve_thinking` (false); every other key is ignored. Media parts become <|image|>,
// <|audio|> and <|video|>, one for each part, in order; `arguments` of calls must be objects.
// Numbers in them are written as Python writes them (2, 2.0, 1e-05), from what the JSON reader
// made of them: Boost 1.81 turns integers beyond 64 bits into floats, and of a float with more
// than 15 digits the last may be off by one.
//
// INVALID_ARGUMENT names the field, e.g. "messages[2].content is neither a string nor a list".
absl::StatusOr<std::string> RenderChat(const boost::json::object& arguments);

}  // namespace facet

#endif  // FACET_MODEL_CHAT_TEMPLATE_H_
