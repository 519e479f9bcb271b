#ifndef FACET_OPS_CLI_JSON_LINES_H_
#define FACET_OPS_CLI_JSON_LINES_H_

#include <boost/json/fwd.hpp>
#include <functional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace facet {

// Calls `handle` with each line of stdin that is not blank, parsed as a JSON object, until one
// fails. Errors begin with the number of the line.
absl::Status ForEachInputLine(
    const std::function<absl::Status(const boost::json::object& line)>& handle);

// Writes one JSON object as a line to stdout and flushes it.
void PrintLine(const boost::json::object& line);

// A field that must be a string, or a boolean that has a default. INVALID_ARGUMENT names it.
absl::StatusOr<absl::string_view> StringField(const boost::json::object& line,
                                              absl::string_view name);
absl::StatusOr<bool> BoolField(const boost::json::object& line, absl::string_view name,
                               bool otherwise);

}  // namespace facet

#endif  // FACET_OPS_CLI_JSON_LINES_H_
