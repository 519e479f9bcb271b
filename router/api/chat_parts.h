#ifndef FACET_ROUTER_API_CHAT_PARTS_H_
#define FACET_ROUTER_API_CHAT_PARTS_H_

#include <boost/json/fwd.hpp>
#include <initializer_list>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace facet {

// Pieces of a chat completion's body, for those who bring other forms into it.

// Fields that mean the same in every form of ours, beside those that a form names itself.
inline constexpr std::initializer_list<absl::string_view> kPassedFields = {
    "model",
    "stream",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "logit_bias",
    "ignore_eos",
    "chat_template_kwargs",
    "structured_outputs",
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
};

boost::json::object TextPart(absl::string_view text);
boost::json::object ImageUrlPart(absl::string_view url);
boost::json::object InputAudioPart(absl::string_view data, absl::string_view format);
// {"type": "function", "function": ...}: a tool, or the choice of one.
boost::json::object FunctionTool(boost::json::object function);
// For a tool that is not of the client's own kind, which `own_type` names.
absl::Status ServerToolError(const std::string& path, const std::string& type,
                             absl::string_view own_type);
// An entry of `tool_calls`. `arguments` is an object or its JSON text.
boost::json::object FunctionCall(absl::string_view id, absl::string_view name,
                                 boost::json::value arguments);

}  // namespace facet

#endif  // FACET_ROUTER_API_CHAT_PARTS_H_
