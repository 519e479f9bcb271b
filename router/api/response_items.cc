#include "router/api/response_items.h"

#include <boost/json.hpp>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "router/api/api_error.h"
#include "router/api/chat_parts.h"
#include "router/api/json_fields.h"

namespace facet {
namespace {

namespace json = boost::json;

absl::Status Unsupported(const std::string& path, absl::string_view type) {
  return InvalidParam(
      path,
      absl::StrCat("`", path, "` is of type \"", type, "\", which this server does not take."),
      "unsupported_value");
}

absl::StatusOr<json::object> ConvertAudio(const JsonFields& part) {
  ASSIGN_OR_RETURN(const json::object* audio, part.Object("input_audio"));
  if (audio == nullptr) return part.Wrong("input_audio", "an object");
  const std::string path = part.PathOf("input_audio.");
  const JsonFields fields(*audio, path);
  std::string data, format;
  RETURN_IF_ERROR(fields.RequiredString("data", &data));
  RETURN_IF_ERROR(fields.RequiredString("format", &format));
  return InputAudioPart(data, format);
}

absl::StatusOr<json::object> ConvertImage(const JsonFields& part) {
  std::string url, detail;
  RETURN_IF_ERROR(part.RequiredString("image_url", &url));
  RETURN_IF_ERROR(part.String("detail", &detail));
  json::object result = ImageUrlPart(url);
  if (!detail.empty()) result["image_url"].get_object()["detail"] = JsonText(detail);
  return result;
}

absl::StatusOr<json::object> ConvertPart(const json::value& part, const std::string& path) {
  if (!part.is_object()) return WrongValue(path, "an object with a `type`", part);
  const std::string prefix = path + ".";
  const JsonFields fields(part.get_object(), prefix);
  std::string type, text;
  RETURN_IF_ERROR(fields.RequiredString("type", &type));
  if (type == "input_image") return ConvertImage(fields);
  if (type == "input_audio") return ConvertAudio(fields);
  const bool refusal = type == "refusal";
  if (type != "input_text" && type != "output_text" && type != "text" && !refusal) {
    return Unsupported(path, type);
  }
  RETURN_IF_ERROR(fields.RequiredString(refusal ? "refusal" : "text", &text));
  return TextPart(text);
}

class ItemConverter {
 public:
  ItemConverter(json::array& messages, FieldNames& names) : messages_(messages), names_(names) {}

  absl::Status Add(const json::value& item, const std::string& path) {
    if (!item.is_object()) return WrongValue(path, "an object", item);
    const std::string prefix = path + ".";
    const JsonFields fields(item.get_object(), prefix);
    std::string type = "message";
    RETURN_IF_ERROR(fields.String("type", &type));
    if (type == "message") return AddMessage(fields, path);
    if (type == "reasoning") return AddReasoning(fields, path);
    if (type == "function_call") return AddCall(fields, path);
    if (type == "function_call_output") return AddCallOutput(fields, path);
    return Unsupported(path, type);
  }

 private:
  std::string CurrentPath() const { return absl::StrCat("messages[", messages_.size() - 1, "]"); }

  json::object& Begin(absl::string_view role, const std::string& path) {
    messages_.push_back(json::object{{"role", JsonText(role)}});
    names_.Add(CurrentPath(), path);
    return messages_.back().get_object();
  }

  // The message that a turn of the model is put together in. A turn ends where its text has come,
  // unless calls follow.
  json::object& ModelTurn(const std::string& path, bool text_may_be_there) {
    if (!messages_.empty()) {
      json::object& last = messages_.back().get_object();
      if (last.at("role") == "assistant" && (text_may_be_there || !last.contains("content"))) {
        return last;
      }
    }
    return Begin("assistant", path);
  }

  absl::StatusOr<json::value> ConvertContent(const JsonFields& fields, absl::string_view name) {
    const json::value* content = fields.Find(name);
    if (content != nullptr && content->is_string()) return *content;
    if (content == nullptr || !content->is_array()) {
      return fields.Wrong(name, "a string or a list of parts");
    }
    json::array parts;
    for (size_t i = 0; i < content->get_array().size(); ++i) {
      const std::string path = absl::StrCat(fields.PathOf(name), "[", i, "]");
      ASSIGN_OR_RETURN(json::object part, ConvertPart(content->get_array()[i], path));
      parts.push_back(std::move(part));
    }
    return parts;
  }

  absl::Status AddMessage(const JsonFields& fields, const std::string& path) {
    static constexpr absl::string_view kRoles[] = {"user", "assistant", "system", "developer"};
    std::string role;
    RETURN_IF_ERROR(fields.RequiredString("role", &role));
    if (!absl::c_linear_search(kRoles, role)) {
      return fields.Wrong("role", "one of user, assistant, system and developer");
    }
    ASSIGN_OR_RETURN(json::value content, ConvertContent(fields, "content"));
    json::object& message =
        role == "assistant" ? ModelTurn(path, /*text_may_be_there=*/false) : Begin(role, path);
    message["content"] = std::move(content);
    names_.Add(CurrentPath() + ".content", fields.PathOf("content"));
    return absl::OkStatus();
  }

  // The text itself is in `content`; a summary stands in where a client kept only that.
  absl::Status AddReasoning(const JsonFields& fields, const std::string& path) {
    std::string text;
    for (const char* name : {"content", "summary"}) {
      ASSIGN_OR_RETURN(const json::array* parts, fields.Array(name));
      if (parts == nullptr || !text.empty()) continue;
      for (size_t i = 0; i < parts->size(); ++i) {
        const std::string part_path = absl::StrCat(fields.PathOf(name), "[", i, "]");
        if (!(*parts)[i].is_object()) return WrongValue(part_path, "an object", (*parts)[i]);
        const std::string prefix = part_path + ".";
        std::string piece;
        RETURN_IF_ERROR(
            JsonFields((*parts)[i].get_object(), prefix).RequiredString("text", &piece));
        text += piece;
      }
    }
    json::object& message = Begin("assistant", path);
    if (!text.empty()) message["reasoning_content"] = JsonText(text);
    return absl::OkStatus();
  }

  absl::Status AddCall(const JsonFields& fields, const std::string& path) {
    std::string id, name, arguments;
    RETURN_IF_ERROR(fields.RequiredString("call_id", &id));
    RETURN_IF_ERROR(fields.RequiredString("name", &name));
    RETURN_IF_ERROR(fields.RequiredString("arguments", &arguments));
    json::value& calls = ModelTurn(path, /*text_may_be_there=*/true)["tool_calls"];
    if (calls.is_null()) calls = json::array();
    const std::string call =
        absl::StrCat(CurrentPath(), ".tool_calls[", calls.get_array().size(), "]");
    names_.Add(call, path);
    names_.Add(call + ".function", path);
    calls.get_array().push_back(FunctionCall(id, name, JsonText(arguments)));
    return absl::OkStatus();
  }

  absl::Status AddCallOutput(const JsonFields& fields, const std::string& path) {
    std::string id;
    RETURN_IF_ERROR(fields.RequiredString("call_id", &id));
    ASSIGN_OR_RETURN(json::value content, ConvertContent(fields, "output"));
    json::object& message = Begin("tool", path);
    message["tool_call_id"] = JsonText(id);
    message["content"] = std::move(content);
    names_.Add(CurrentPath() + ".content", fields.PathOf("output"));
    return absl::OkStatus();
  }

  json::array& messages_;
  FieldNames& names_;
};

}  // namespace

absl::Status AddResponseItems(const json::array& items, const std::string& path,
                              json::array& messages, FieldNames& names) {
  ItemConverter converter(messages, names);
  for (size_t i = 0; i < items.size(); ++i) {
    RETURN_IF_ERROR(converter.Add(items[i], absl::StrCat(path, "[", i, "]")));
  }
  return absl::OkStatus();
}

}  // namespace facet
