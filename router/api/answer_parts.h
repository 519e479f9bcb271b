#ifndef FACET_ROUTER_API_ANSWER_PARTS_H_
#define FACET_ROUTER_API_ANSWER_PARTS_H_

#include <boost/json/fwd.hpp>
#include <string>

#include "absl/strings/string_view.h"

namespace facet {

// What answers of all forms are put together from.

// A new id: the prefix and 24 hexadecimal digits.
std::string NewAnswerId(absl::string_view prefix);
// Of a tool call of the answer `id`; unique, since that is.
std::string ToolCallId(absl::string_view id, int choice, int call);

// A server-sent event with a name, as the Responses and the Messages API have them; its `type` is
// put first into the data.
std::string NamedEvent(absl::string_view type, boost::json::object data);

}  // namespace facet

#endif  // FACET_ROUTER_API_ANSWER_PARTS_H_
