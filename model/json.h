#ifndef FACET_MODEL_JSON_H_
#define FACET_MODEL_JSON_H_

#include <boost/json/fwd.hpp>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace facet {

// Parses one JSON text with bounded nesting (64). INVALID_ARGUMENT says `what` was read and at
// which byte it went wrong. Include <boost/json.hpp> to use the result.
absl::StatusOr<boost::json::value> ParseJson(absl::string_view text, absl::string_view what);

}  // namespace facet

#endif  // FACET_MODEL_JSON_H_
