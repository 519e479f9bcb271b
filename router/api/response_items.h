#ifndef FACET_ROUTER_API_RESPONSE_ITEMS_H_
#define FACET_ROUTER_API_RESPONSE_ITEMS_H_

#include <boost/json/fwd.hpp>
#include <string>

#include "absl/status/status.h"
#include "router/api/field_names.h"

namespace facet {

// Adds the items of a Responses API conversation (messages, thoughts, calls and their results) to
// the `messages` of a chat completion. Items of one turn of the model, as thought, text and call,
// become one message. `path` is what errors call `items`, e.g. "input"; `names` learns which
// message came from which item. Pure.
absl::Status AddResponseItems(const boost::json::array& items, const std::string& path,
                              boost::json::array& messages, FieldNames& names);

}  // namespace facet

#endif  // FACET_ROUTER_API_RESPONSE_ITEMS_H_
