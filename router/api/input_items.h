#ifndef FACET_ROUTER_API_INPUT_ITEMS_H_
#define FACET_ROUTER_API_INPUT_ITEMS_H_

#include <boost/json/fwd.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace facet {

// GET /v1/responses/{id}/input_items: what a kept response was asked, with the conversation before
// it, one page of it. `stored` is what ResponseStore has of the response `id`; `query` is what
// stands behind the question mark: limit (1 to 100), order (asc or desc), after (an item's id).
// Items that the client sent without an id get one that stays the same. InvalidParam names a
// parameter that is wrong. Pure.
absl::StatusOr<boost::json::value> ListInputItems(const std::string& id,
                                                  const boost::json::object& stored,
                                                  absl::string_view query);

}  // namespace facet

#endif  // FACET_ROUTER_API_INPUT_ITEMS_H_
