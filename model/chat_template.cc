#include "model/chat_template.h"

#include <boost/json.hpp>
#include <cstdint>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/chat_values.h"
#include "model/python_text.h"

namespace facet {
namespace {

namespace json = boost::json;

constexpr absl::string_view kEmptyThought = "<|channel>thought\n<channel|>";

absl::StatusOr<bool> GetFlag(const json::object& object, const char* key, bool otherwise) {
  const json::value* value = object.if_contains(key);
  if (!value || value->is_null()) return otherwise;
  if (!value->is_bool()) return BadField(key, "is not a boolean");
  return value->as_bool();
}

// What a model's earlier answer says, without its thoughts: every "<|channel>...<channel|>" goes,
// and an open one goes to the end of its part.
std::string StripThinking(absl::string_view text) {
  std::string kept;
  while (true) {
    const size_t end = text.find("<channel|>");
    const absl::string_view part = text.substr(0, end);
    absl::StrAppend(&kept, part.substr(0, part.find("<|channel>")));
    if (end == absl::string_view::npos) break;
    text.remove_prefix(end + absl::string_view("<channel|>").size());
  }
  return std::string(PythonStrip(kept));
}

// The placeholder of a media part, in the template's own names and OpenAI's; empty for any other.
absl::string_view Placeholder(absl::string_view type) {
  if (type == "image" || type == "image_url" || type == "input_image") return "<|image|>";
  if (type == "audio" || type == "audio_url" || type == "input_audio") return "<|audio|>";
  if (type == "video" || type == "video_url" || type == "input_video") return "<|video|>";
  return "";
}

// One entry of a list-valued content.
struct Part {
  bool is_text = false;
  absl::string_view text;  // Or the placeholder.
};

absl::StatusOr<Part> ReadPart(const json::value& value, const std::string& field) {
  const json::object* part = value.if_object();
  if (!part) return BadField(field, "is not an object");
  ASSIGN_OR_RETURN(const absl::string_view type, GetText(*part, "type", field));
  if (type == "text" || type == "input_text" || type == "output_text") {
    if (!part->contains("text")) return BadField(absl::StrCat(field, ".text"), "is missing");
    ASSIGN_OR_RETURN(const absl::string_view text, GetText(*part, "text", field));
    return Part{true, text};
  }
  const absl::string_view placeholder = Placeholder(type);
  if (placeholder.empty()) {
    return BadField(absl::StrCat(field, ".type"), absl::StrCat("'", type, "' is not supported"));
  }
  return Part{false, placeholder};
}

// A message's content: a string is one text part; null or nothing is no part.
absl::StatusOr<std::vector<Part>> ReadContent(const json::object& message,
                                              const std::string& field) {
  std::vector<Part> parts;
  const json::value* content = message.if_contains("content");
  if (!content || content->is_null()) return parts;
  if (content->is_string()) return std::vector<Part>{{true, AsView(content->as_string())}};
  if (!content->is_array()) return BadField(field, "is neither a string nor a list of parts");
  for (size_t i = 0; i < content->as_array().size(); ++i) {
    ASSIGN_OR_RETURN(const Part part,
                     ReadPart(content->as_array()[i], absl::StrCat(field, "[", i, "]")));
    parts.push_back(part);
  }
  return parts;
}

// The list under `key`, or null if it is absent, null or empty.
absl::StatusOr<const json::array*> GetList(const json::object& object, const char* key,
                                           absl::string_view parent) {
  const json::value* value = object.if_contains(key);
  if (!value || value->is_null()) return nullptr;
  if (!value->is_array()) return BadField(absl::StrCat(parent, key), "is not a list");
  return value->as_array().empty() ? nullptr : &value->as_array();
}

class Renderer {
 public:
  explicit Renderer(const json::object& arguments) : arguments_(arguments) {}

  absl::StatusOr<std::string> Render() {
    RETURN_IF_ERROR(ReadArguments());
    prompt_ = "<bos>";
    size_t begin = 0;
    RETURN_IF_ERROR(RenderSystemTurn(&begin));
    for (size_t i = begin; i < messages_.size(); ++i) {
      if (messages_[i].role != "tool") RETURN_IF_ERROR(RenderMessage(i));
    }
    if (add_generation_prompt_) RenderGenerationPrompt();
    return std::move(prompt_);
  }

 private:
  struct Message {
    const json::object* object;
    absl::string_view role;
  };
  // How the prompt ends.
  enum class End : uint8_t { kTurn, kToolCall, kToolResponse };

  static std::string FieldOf(size_t index) { return absl::StrCat("messages[", index, "]"); }

  absl::Status ReadArguments() {
    ASSIGN_OR_RETURN(enable_thinking_, GetFlag(arguments_, "enable_thinking", false));
    ASSIGN_OR_RETURN(add_generation_prompt_, GetFlag(arguments_, "add_generation_prompt", true));
    ASSIGN_OR_RETURN(preserve_thinking_, GetFlag(arguments_, "preserve_thinking", false));
    ASSIGN_OR_RETURN(tools_, GetList(arguments_, "tools", ""));
    ASSIGN_OR_RETURN(const json::array* messages, GetList(arguments_, "messages", ""));
    if (!messages) return BadField("messages", "is missing or empty");
    for (size_t i = 0; i < messages->size(); ++i) {
      const json::object* message = (*messages)[i].if_object();
      if (!message) return BadField(FieldOf(i), "is not an object");
      ASSIGN_OR_RETURN(const absl::string_view role, GetText(*message, "role", FieldOf(i)));
      if (role.empty()) return BadField(absl::StrCat(FieldOf(i), ".role"), "is missing");
      if (role == "user") last_user_ = static_cast<int>(i);
      messages_.push_back({message, role});
    }
    return absl::OkStatus();
  }

  // The first message belongs here if it is the system's; then `begin` is the one after it.
  absl::Status RenderSystemTurn(size_t* begin) {
    const bool has_text = messages_[0].role == "system" || messages_[0].role == "developer";
    if (!has_text && !tools_ && !enable_thinking_) return absl::OkStatus();
    absl::StrAppend(&prompt_, "<|turn>system\n");
    if (enable_thinking_) absl::StrAppend(&prompt_, "<|think|>\n");
    if (has_text) {
      *begin = 1;
      const json::value* content = messages_[0].object->if_contains("content");
      const bool is_list = content && content->is_array();
      ASSIGN_OR_RETURN(const std::vector<Part> parts,
                       ReadContent(*messages_[0].object, "messages[0].content"));
      for (const Part& part : parts) {
        if (!part.is_text) {
          return BadField("messages[0].content", "has media, which a system message may not have");
        }
        absl::StrAppend(&prompt_, PythonStrip(part.text), is_list ? " " : "");
      }
    }
    for (size_t i = 0; tools_ && i < tools_->size(); ++i) {
      absl::StrAppend(&prompt_, "<|tool>");
      RETURN_IF_ERROR(AppendToolDeclaration((*tools_)[i], absl::StrCat("tools[", i, "]"), prompt_));
      absl::StrAppend(&prompt_, "<tool|>");
    }
    absl::StrAppend(&prompt_, "<turn|>\n");
    return absl::OkStatus();
  }

  absl::Status RenderMessage(size_t index) {
    const json::object& message = *messages_[index].object;
    const std::string field = FieldOf(index);
    const bool is_model = messages_[index].role == "assistant";
    if (!is_model || !FollowsAssistant(index)) {
      absl::StrAppend(&prompt_, "<|turn>", is_model ? "model" : messages_[index].role, "\n");
    }
    ASSIGN_OR_RETURN(const json::array* calls,
                     GetList(message, "tool_calls", absl::StrCat(field, ".")));
    RETURN_IF_ERROR(RenderReasoning(index, calls != nullptr));
    if (calls) RETURN_IF_ERROR(RenderToolCalls(*calls, field));
    ASSIGN_OR_RETURN(const bool has_responses, RenderToolResponses(index, calls));
    ASSIGN_OR_RETURN(const bool has_content, RenderContent(index, is_model));
    RenderEnd(index, is_model, calls != nullptr, has_responses, has_content);
    return absl::OkStatus();
  }

  // The message before, and the one after, tool results aside; null if there is none.
  bool FollowsAssistant(size_t index) const {
    while (index > 0 && messages_[index - 1].role == "tool") --index;
    return index > 0 && messages_[index - 1].role == "assistant";
  }
  const Message* Next(size_t index) const {
    for (++index; index < messages_.size(); ++index) {
      if (messages_[index].role != "tool") return &messages_[index];
    }
    return nullptr;
  }

  absl::Status RenderReasoning(size_t index, bool has_calls) {
    const json::object& message = *messages_[index].object;
    ASSIGN_OR_RETURN(absl::string_view text, GetText(message, "reasoning", FieldOf(index)));
    if (text.empty()) {
      ASSIGN_OR_RETURN(text, GetText(message, "reasoning_content", FieldOf(index)));
    }
    const bool is_current = static_cast<int>(index) > last_user_;
    if (!text.empty() && (is_current || (preserve_thinking_ && has_calls))) {
      absl::StrAppend(&prompt_, "<|channel>thought\n", text, "\n<channel|>");
    }
    return absl::OkStatus();
  }

  absl::Status RenderToolCalls(const json::array& calls, const std::string& message_field) {
    for (size_t i = 0; i < calls.size(); ++i) {
      const std::string field = absl::StrCat(message_field, ".tool_calls[", i, "].function");
      ASSIGN_OR_RETURN(const json::object* function, GetFunction(calls[i], field));
      ASSIGN_OR_RETURN(const absl::string_view name, GetText(*function, "name", field));
      absl::StrAppend(&prompt_, "<|tool_call>call:", name);
      const json::value* arguments = function->if_contains("arguments");
      if (!arguments || arguments->is_null()) {
        absl::StrAppend(&prompt_, "{}");
      } else if (arguments->is_object()) {
        AppendValue(*arguments, KeyStyle::kBare, prompt_);
      } else {
        return BadField(absl::StrCat(field, ".arguments"),
                        absl::StrCat("must be a JSON object (mapping), not ",
                                     arguments->is_string()  ? "a string"
                                     : arguments->is_array() ? "a list"
                                                             : "a number or boolean"));
      }
      absl::StrAppend(&prompt_, "<tool_call|>");
    }
    return absl::OkStatus();
  }

  // Those of the message itself, or else the tool messages that follow its calls.
  absl::StatusOr<bool> RenderToolResponses(size_t index, const json::array* calls) {
    const std::string field = FieldOf(index);
    ASSIGN_OR_RETURN(const json::array* own,
                     GetList(*messages_[index].object, "tool_responses", absl::StrCat(field, ".")));
    for (size_t i = 0; own && i < own->size(); ++i) {
      const std::string response_field = absl::StrCat(field, ".tool_responses[", i, "]");
      const json::object* response = (*own)[i].if_object();
      if (!response) return BadField(response_field, "is not an object");
      ASSIGN_OR_RETURN(const absl::string_view name, GetText(*response, "name", response_field));
      const json::value* value = response->if_contains("response");
      AppendToolResponse(name, value ? *value : json::value());
    }
    if (own) return true;
    if (!calls) return false;
    bool any = false;
    for (size_t i = index + 1; i < messages_.size() && messages_[i].role == "tool"; ++i) {
      RETURN_IF_ERROR(RenderToolMessage(i, *calls));
      any = true;
    }
    return any;
  }

  absl::Status RenderToolMessage(size_t index, const json::array& calls) {
    const json::object& message = *messages_[index].object;
    const std::string field = FieldOf(index);
    ASSIGN_OR_RETURN(absl::string_view name, GetText(message, "name", field));
    ASSIGN_OR_RETURN(const absl::string_view id, GetText(message, "tool_call_id", field));
    for (const json::value& call : calls) {
      ASSIGN_OR_RETURN(const absl::string_view call_id, GetText(call.as_object(), "id", field));
      if (call_id == id) {
        ASSIGN_OR_RETURN(name, GetText(call.at("function").as_object(), "name", field));
      }
    }
    const json::value* content = message.if_contains("content");
    if (!content || !content->is_array()) {
      if (content && content->is_object()) {
        return BadField(absl::StrCat(field, ".content"), "is neither a string nor a list of parts");
      }
      AppendToolResponse(name, content ? *content : json::value());
      return absl::OkStatus();
    }
    ASSIGN_OR_RETURN(const std::vector<Part> parts,
                     ReadContent(message, absl::StrCat(field, ".content")));
    std::string text, media;
    for (const Part& part : parts) absl::StrAppend(part.is_text ? &text : &media, part.text);
    AppendToolResponse(name, json::value(text));
    absl::StrAppend(&prompt_, media);
    return absl::OkStatus();
  }

  void AppendToolResponse(absl::string_view name, const json::value& value) {
    absl::StrAppend(&prompt_, "<|tool_response>response:", name.empty() ? "unknown" : name);
    if (value.is_object()) {
      AppendValue(value, KeyStyle::kBare, prompt_);
    } else {
      absl::StrAppend(&prompt_, "{value:");
      AppendValue(value, KeyStyle::kBare, prompt_);
      absl::StrAppend(&prompt_, "}");
    }
    absl::StrAppend(&prompt_, "<tool_response|>");
  }

  // Whether there was more than white space.
  absl::StatusOr<bool> RenderContent(size_t index, bool is_model) {
    ASSIGN_OR_RETURN(
        const std::vector<Part> parts,
        ReadContent(*messages_[index].object, absl::StrCat(FieldOf(index), ".content")));
    const size_t begin = prompt_.size();
    for (const Part& part : parts) {
      if (!part.is_text) {
        absl::StrAppend(&prompt_, part.text);
      } else if (is_model) {
        absl::StrAppend(&prompt_, StripThinking(part.text));
      } else {
        absl::StrAppend(&prompt_, PythonStrip(part.text));
      }
    }
    return prompt_.size() > begin;
  }

  void RenderEnd(size_t index, bool is_model, bool has_calls, bool has_responses,
                 bool has_content) {
    const Message* next = Next(index);
    if (has_calls && !has_responses) {
      // Where the model itself stops after its calls.
      absl::StrAppend(&prompt_, "<|tool_response>");
      end_ = End::kToolCall;
    } else if (has_responses && !has_content && !next) {
      end_ = End::kToolResponse;
    } else if (!is_model || !next || next->role != "assistant") {
      absl::StrAppend(&prompt_, "<turn|>\n");
      end_ = End::kTurn;
    }
  }

  void RenderGenerationPrompt() {
    if (end_ == End::kTurn) {
      absl::StrAppend(&prompt_, "<|turn>model\n", enable_thinking_ ? "" : kEmptyThought);
    } else if (end_ == End::kToolResponse && enable_thinking_) {
      absl::StrAppend(&prompt_, "<|channel>thought\n");
    }
  }

  const json::object& arguments_;
  std::vector<Message> messages_;
  const json::array* tools_ = nullptr;  // Null: none.
  bool enable_thinking_ = false;
  bool add_generation_prompt_ = true;
  bool preserve_thinking_ = false;
  int last_user_ = -1;
  std::string prompt_;
  End end_ = End::kTurn;
};

}  // namespace

absl::StatusOr<std::string> RenderChat(const json::object& arguments) {
  return Renderer(arguments).Render();
}

}  // namespace facet
