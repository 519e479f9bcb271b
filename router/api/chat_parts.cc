#include "router/api/chat_parts.h"

#include <boost/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "router/api/api_error.h"
#include "router/api/json_fields.h"

namespace facet {

namespace json = boost::json;

json::object TextPart(absl::string_view text) {
  return {{"type", "text"}, {"text", JsonText(text)}};
}

json::object ImageUrlPart(absl::string_view url) {
  return {{"type", "image_url"}, {"image_url", json::object{{"url", JsonText(url)}}}};
}

json::object InputAudioPart(absl::string_view data, absl::string_view format) {
  return {{"type", "input_audio"},
          {"input_audio", json::object{{"data", JsonText(data)}, {"format", JsonText(format)}}}};
}

json::object FunctionTool(json::object function) {
  return {{"type", "function"}, {"function", std::move(function)}};
}

absl::Status ServerToolError(const std::string& path, const std::string& type,
                             absl::string_view own_type) {
  return InvalidParam(
      path + ".type",
      absl::StrCat("`", path, ".type` is \"", type,
                   "\", but this server has tools of the client alone: use \"", own_type, "\"."),
      "unsupported_value");
}

json::object FunctionCall(absl::string_view id, absl::string_view name, json::value arguments) {
  json::object call = FunctionTool({{"name", JsonText(name)}, {"arguments", std::move(arguments)}});
  call["id"] = JsonText(id);
  return call;
}

}  // namespace facet
