#include "router/api/messages_request.h"

#include <boost/json.hpp>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "router/api/api_error.h"
#include "router/api/chat_parts.h"
#include "router/api/json_fields.h"
#include "router/api/messages_response.h"

namespace facet {
namespace {

namespace json = boost::json;

// Tokens; far beyond any context.
constexpr int64_t kThinkingBudgetMax = 1 << 30;

// {"type": "base64", "media_type", "data"} or {"type": "url", "url"}.
absl::StatusOr<json::object> ImagePart(const JsonFields& block) {
  ASSIGN_OR_RETURN(const json::object* source, block.Object("source"));
  if (source == nullptr) return block.Wrong("source", "an object");
  const std::string path = block.PathOf("source.");
  const JsonFields fields(*source, path);
  std::string type, url, media_type, data;
  RETURN_IF_ERROR(fields.String("type", &type));
  if (type == "url") {
    RETURN_IF_ERROR(fields.RequiredString("url", &url));
    return ImageUrlPart(url);
  }
  if (type != "base64") return fields.Wrong("type", "\"base64\" or \"url\"");
  RETURN_IF_ERROR(fields.RequiredString("media_type", &media_type));
  RETURN_IF_ERROR(fields.RequiredString("data", &data));
  return ImageUrlPart(absl::StrCat("data:", media_type, ";base64,", data));
}

// The same for sound, which Anthropic's own models do not take: {"type": "base64", "media_type":
// "audio/wav", "data"}.
absl::StatusOr<json::object> AudioPart(const JsonFields& block) {
  ASSIGN_OR_RETURN(const json::object* source, block.Object("source"));
  if (source == nullptr) return block.Wrong("source", "an object");
  const std::string path = block.PathOf("source.");
  const JsonFields fields(*source, path);
  std::string media_type, data;
  RETURN_IF_ERROR(fields.RequiredString("media_type", &media_type));
  RETURN_IF_ERROR(fields.RequiredString("data", &data));
  return InputAudioPart(data, std::string(absl::StripPrefix(media_type, "audio/")));
}

// The messages of the chat completion, as they come to be.
class MessageConverter {
 public:
  MessageConverter(json::array& messages, FieldNames& names) : messages_(messages), names_(names) {}

  absl::Status AddSystem(const JsonFields& body) {
    const json::value* system = body.Find("system");
    if (system == nullptr) return absl::OkStatus();
    Begin("system", "system");
    return AddContent(body, "system");
  }

  absl::Status AddMessage(const json::value& message, const std::string& path) {
    if (!message.is_object()) return WrongValue(path, "an object", message);
    const std::string prefix = path + ".";
    const JsonFields fields(message.get_object(), prefix);
    std::string role;
    RETURN_IF_ERROR(fields.RequiredString("role", &role));
    if (role != "user" && role != "assistant") {
      return fields.Wrong("role", "\"user\" or \"assistant\"");
    }
    Begin(role, path);
    return AddContent(fields, "content");
  }

  // A message that holds nothing, as one of tool results alone, is none.
  void End() {
    if (begun_ && !HoldsSomething(Current())) messages_.pop_back();
    begun_ = false;
  }

 private:
  static bool HoldsSomething(const json::object& message) {
    return message.at("content").is_string() || !message.at("content").get_array().empty() ||
           message.contains("tool_calls") || message.contains("reasoning_content") ||
           message.at("role") != "user";
  }

  json::object& Current() { return messages_.back().get_object(); }
  std::string CurrentPath() const { return absl::StrCat("messages[", messages_.size() - 1, "]"); }

  void Begin(absl::string_view role, const std::string& path) {
    End();
    messages_.push_back(json::object{{"role", JsonText(role)}, {"content", json::array()}});
    names_.Add(CurrentPath(), path);
    begun_ = true;
    role_ = std::string(role);
    path_ = path;
  }

  absl::Status AddContent(const JsonFields& fields, absl::string_view name) {
    const json::value* content = fields.Find(name);
    if (content != nullptr && content->is_string()) {
      Current()["content"] = *content;
      return absl::OkStatus();
    }
    if (content == nullptr || !content->is_array()) {
      return fields.Wrong(name, "a string or a list of blocks");
    }
    const json::array& blocks = content->get_array();
    for (size_t i = 0; i < blocks.size(); ++i) {
      RETURN_IF_ERROR(AddBlock(blocks[i], absl::StrCat(fields.PathOf(name), "[", i, "]")));
    }
    return absl::OkStatus();
  }

  absl::Status AddBlock(const json::value& block, const std::string& path) {
    if (!block.is_object()) return WrongValue(path, "an object with a `type`", block);
    const std::string prefix = path + ".";
    const JsonFields fields(block.get_object(), prefix);
    std::string type;
    RETURN_IF_ERROR(fields.RequiredString("type", &type));
    const bool assistant = role_ == "assistant";
    const bool media = role_ == "user" || role_ == "tool";
    if (type == "text") return AddText(fields, path);
    if (type == "image" && media) return AddPart(ImagePart(fields), path);
    if (type == "audio" && media) return AddPart(AudioPart(fields), path);
    if (type == "tool_result" && role_ == "user") return AddToolResult(fields, path);
    if (type == "tool_use" && assistant) return AddToolUse(fields, path);
    if (type == "thinking" && assistant) return AddThinking(fields);
    // Thoughts that only their writer can read; ours are never such.
    if (type == "redacted_thinking" && assistant) return absl::OkStatus();
    return InvalidParam(
        path,
        absl::StrCat("`", path, "` is of type \"", type,
                     "\", which this server does not take in a message of role `", role_, "`."),
        "unsupported_value");
  }

  absl::Status AddText(const JsonFields& fields, const std::string& path) {
    std::string text;
    RETURN_IF_ERROR(fields.RequiredString("text", &text));
    return AddPart(TextPart(text), path);
  }

  absl::Status AddPart(absl::StatusOr<json::object> part, const std::string& path) {
    RETURN_IF_ERROR(part.status());
    json::array& parts = Current()["content"].get_array();
    const std::string chat = absl::StrCat(CurrentPath(), ".content[", parts.size(), "]");
    names_.Add(chat, path);
    // Where a chat has the file.
    for (const char* file : {".image_url.url", ".input_audio.data"}) {
      names_.Add(chat + file, path + ".source");
    }
    parts.push_back(*std::move(part));
    return absl::OkStatus();
  }

  absl::Status AddThinking(const JsonFields& fields) {
    std::string text;
    RETURN_IF_ERROR(fields.RequiredString("thinking", &text));
    json::value& all = Current()["reasoning_content"];
    if (all.is_null()) all = "";
    all.get_string().append(text);
    return absl::OkStatus();
  }

  absl::Status AddToolUse(const JsonFields& fields, const std::string& path) {
    std::string id, name;
    RETURN_IF_ERROR(fields.RequiredString("id", &id));
    RETURN_IF_ERROR(fields.RequiredString("name", &name));
    ASSIGN_OR_RETURN(const json::object* input, fields.Object("input"));
    json::value& calls = Current()["tool_calls"];
    if (calls.is_null()) calls = json::array();
    names_.Add(absl::StrCat(CurrentPath(), ".tool_calls[", calls.get_array().size(), "]"), path);
    calls.get_array().push_back(FunctionCall(id, name, input == nullptr ? json::object() : *input));
    return absl::OkStatus();
  }

  // A message of its own; what follows in this one goes into another.
  absl::Status AddToolResult(const JsonFields& fields, const std::string& path) {
    std::string id;
    bool ignored = false;
    RETURN_IF_ERROR(fields.RequiredString("tool_use_id", &id));
    RETURN_IF_ERROR(fields.Bool("is_error", &ignored));
    const std::string message_path = path_;
    Begin("tool", path);
    Current()["tool_call_id"] = JsonText(id);
    if (fields.Find("content") == nullptr) Current()["content"] = "";
    if (fields.Find("content") != nullptr) RETURN_IF_ERROR(AddContent(fields, "content"));
    Begin("user", message_path);
    return absl::OkStatus();
  }

  json::array& messages_;
  FieldNames& names_;
  bool begun_ = false;
  std::string role_;  // Whose blocks may come.
  std::string path_;
};

absl::Status ConvertMessages(const JsonFields& body, json::object& chat, FieldNames& names) {
  ASSIGN_OR_RETURN(const json::array* list, body.Array("messages"));
  if (list == nullptr || list->empty()) {
    return InvalidParam("messages", "`messages` is required: a list of at least one message.");
  }
  json::array messages;
  MessageConverter converter(messages, names);
  RETURN_IF_ERROR(converter.AddSystem(body));
  for (size_t i = 0; i < list->size(); ++i) {
    RETURN_IF_ERROR(converter.AddMessage((*list)[i], absl::StrCat("messages[", i, "]")));
  }
  converter.End();
  chat["messages"] = std::move(messages);
  return absl::OkStatus();
}

absl::Status ConvertTool(const json::value& tool, const std::string& path, json::array& tools) {
  if (!tool.is_object()) return WrongValue(path, "an object", tool);
  const std::string prefix = path + ".";
  const JsonFields fields(tool.get_object(), prefix);
  std::string type = "custom", name, description;
  RETURN_IF_ERROR(fields.String("type", &type));
  if (type != "custom") return ServerToolError(path, type, "custom");
  RETURN_IF_ERROR(fields.RequiredString("name", &name));
  RETURN_IF_ERROR(fields.String("description", &description));
  ASSIGN_OR_RETURN(const json::object* schema, fields.Object("input_schema"));
  if (schema == nullptr) return fields.Wrong("input_schema", "a JSON schema");
  json::object function{{"name", JsonText(name)}, {"parameters", *schema}};
  if (!description.empty()) function["description"] = JsonText(description);
  tools.push_back(FunctionTool(std::move(function)));
  return absl::OkStatus();
}

absl::Status ConvertTools(const JsonFields& body, json::object& chat, FieldNames& names) {
  ASSIGN_OR_RETURN(const json::array* list, body.Array("tools"));
  if (list == nullptr) return absl::OkStatus();
  json::array tools;
  for (size_t i = 0; i < list->size(); ++i) {
    const std::string path = absl::StrCat("tools[", i, "]");
    RETURN_IF_ERROR(ConvertTool((*list)[i], path, tools));
    names.Add(path + ".function.parameters", path + ".input_schema");
    names.Add(path + ".function", path);
  }
  chat["tools"] = std::move(tools);
  return absl::OkStatus();
}

absl::Status ConvertToolChoice(const JsonFields& body, json::object& chat) {
  ASSIGN_OR_RETURN(const json::object* choice, body.Object("tool_choice"));
  if (choice == nullptr) return absl::OkStatus();
  const JsonFields fields(*choice, "tool_choice.");
  std::string type, name;
  bool not_parallel = false;
  RETURN_IF_ERROR(fields.RequiredString("type", &type));
  RETURN_IF_ERROR(fields.Bool("disable_parallel_tool_use", &not_parallel));
  if (not_parallel) chat["parallel_tool_calls"] = false;
  if (type == "auto" || type == "none") {
    chat["tool_choice"] = JsonText(type);
  } else if (type == "any") {
    chat["tool_choice"] = "required";
  } else if (type == "tool") {
    RETURN_IF_ERROR(fields.RequiredString("name", &name));
    chat["tool_choice"] = FunctionTool(json::object{{"name", JsonText(name)}});
  } else {
    return fields.Wrong("type", "one of auto, any, tool and none");
  }
  return absl::OkStatus();
}

// The budget is checked and has no effect: a thought ends where the model ends it.
absl::Status ConvertThinking(const JsonFields& body, json::object& chat) {
  ASSIGN_OR_RETURN(const json::object* thinking, body.Object("thinking"));
  if (thinking == nullptr) return absl::OkStatus();
  const JsonFields fields(*thinking, "thinking.");
  std::string type;
  std::optional<int64_t> budget;
  RETURN_IF_ERROR(fields.RequiredString("type", &type));
  RETURN_IF_ERROR(fields.Integer("budget_tokens", 1, kThinkingBudgetMax, &budget));
  if (type != "enabled" && type != "adaptive" && type != "disabled") {
    return fields.Wrong("type", "one of enabled, adaptive and disabled");
  }
  chat["reasoning_effort"] = type == "disabled" ? "none" : "medium";
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<json::object> ChatBodyOfMessages(const json::object& body, FieldNames& names) {
  const JsonFields fields(body, "");
  json::object chat;
  CopyFields(body, kPassedFields, chat);
  names.Add("stop", "stop_sequences");
  RETURN_IF_ERROR(ConvertMessages(fields, chat, names));
  RETURN_IF_ERROR(ConvertTools(fields, chat, names));
  RETURN_IF_ERROR(ConvertToolChoice(fields, chat));
  RETURN_IF_ERROR(ConvertThinking(fields, chat));
  ASSIGN_OR_RETURN(const json::array* stop, fields.Array("stop_sequences"));
  if (stop != nullptr) chat["stop"] = *stop;
  ASSIGN_OR_RETURN(const json::object* metadata, fields.Object("metadata"));
  if (metadata != nullptr) {
    std::string ignored;
    RETURN_IF_ERROR(JsonFields(*metadata, "metadata.").String("user_id", &ignored));
  }
  if (const json::value* tokens_max = fields.Find("max_tokens")) chat["max_tokens"] = *tokens_max;
  return chat;
}

absl::StatusOr<ApiCall> ParseMessagesCall(absl::string_view body) {
  ASSIGN_OR_RETURN(const json::object object, ParseJsonObject(body));
  if (const JsonFields fields(object, ""); fields.Find("max_tokens") == nullptr) {
    return fields.Wrong("max_tokens", "the most tokens to generate");
  }
  ApiCall call;
  ASSIGN_OR_RETURN(json::object chat, ChatBodyOfMessages(object, call.names));
  absl::StatusOr<GenerationRequest> request = ParseChatRequest(std::move(chat));
  if (!request.ok()) return call.names.Rename(request.status());
  call.request = *std::move(request);
  call.request.endpoint = "messages";
  call.make_form = [](const Generation& generation) { return MakeMessagesForm(generation); };
  return call;
}

absl::StatusOr<TokenizeRequest> ParseCountTokensRequest(absl::string_view body) {
  ASSIGN_OR_RETURN(const json::object object, ParseJsonObject(body));
  FieldNames names;
  ASSIGN_OR_RETURN(json::object chat, ChatBodyOfMessages(object, names));
  absl::StatusOr<GenerationRequest> request = ParseChatRequest(std::move(chat));
  if (!request.ok()) return names.Rename(request.status());
  TokenizeRequest result;
  result.generation = *std::move(request);
  result.names = std::move(names);
  return result;
}

}  // namespace facet
