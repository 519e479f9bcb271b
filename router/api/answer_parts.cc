#include "router/api/answer_parts.h"

#include <boost/json.hpp>
#include <utility>

#include "absl/random/random.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "router/api/json_fields.h"

namespace facet {

std::string NewAnswerId(absl::string_view prefix) {
  static thread_local absl::BitGen random;
  return absl::StrFormat("%s%016x%08x", prefix, absl::Uniform<uint64_t>(random),
                         absl::Uniform<uint32_t>(random));
}

std::string ToolCallId(absl::string_view id, int choice, int call) {
  return absl::StrCat("call_", id.substr(id.find_first_of("-_") + 1), "_", choice, "_", call);
}

std::string NamedEvent(absl::string_view type, boost::json::object data) {
  boost::json::object event{{"type", JsonText(type)}};
  for (auto& field : data) event[field.key()] = std::move(field.value());
  return absl::StrCat("event: ", type, "\ndata: ", boost::json::serialize(event), "\n\n");
}

}  // namespace facet
