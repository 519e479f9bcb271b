#include "model/json.h"

#include <boost/json.hpp>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace facet {

constexpr size_t kDepthMax = 64;

absl::StatusOr<boost::json::value> ParseJson(absl::string_view text, absl::string_view what) {
  boost::json::parse_options options;
  options.max_depth = kDepthMax;
  boost::json::stream_parser parser({}, options);
  boost::json::error_code error;
  const size_t read = parser.write_some(text.data(), text.size(), error);
  if (!error) parser.finish(error);
  if (!error && text.find_first_not_of(" \t\r\n", read) != absl::string_view::npos) {
    error = boost::json::error::extra_data;
  }
  if (error) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, ": not JSON at byte ", read, ": ", error.message()));
  }
  return parser.release();
}

}  // namespace facet
