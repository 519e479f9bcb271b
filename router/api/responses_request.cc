#include "router/api/responses_request.h"

#include <boost/json.hpp>
#include <ctime>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/json.h"
#include "router/api/api_error.h"
#include "router/api/chat_parts.h"
#include "router/api/json_fields.h"
#include "router/api/openai_request.h"
#include "router/api/response_items.h"
#include "router/api/responses_response.h"

namespace facet {
namespace {

namespace json = boost::json;

// OpenAI's bounds of `metadata`.
constexpr size_t kMetadataEntriesMax = 16;
constexpr size_t kMetadataKeyBytesMax = 64;
constexpr size_t kMetadataValueBytesMax = 512;

// What would change the answer and is not built: refused rather than ignored.
absl::Status RefuseUnsupported(const JsonFields& fields) {
  for (const char* name : {"conversation", "prompt"}) {
    if (fields.Find(name) != nullptr) {
      return InvalidParam(name, absl::StrCat("`", name, "` is not supported."),
                          "unsupported_value");
    }
  }
  bool background = false;
  RETURN_IF_ERROR(fields.Bool("background", &background));
  if (background) {
    return InvalidParam("background", "`background` is not supported.", "unsupported_value");
  }
  std::string truncation = "disabled";
  RETURN_IF_ERROR(fields.String("truncation", &truncation));
  if (truncation != "disabled") {
    return InvalidParam("truncation", "`truncation` must be \"disabled\".", "unsupported_value");
  }
  std::optional<int64_t> top_logprobs;
  RETURN_IF_ERROR(fields.Integer("top_logprobs", 0, 20, &top_logprobs));
  ASSIGN_OR_RETURN(const json::array* include, fields.Array("include"));
  bool logprobs = top_logprobs.value_or(0) > 0;
  for (const json::value& entry : include == nullptr ? json::array() : *include) {
    if (!entry.is_string()) return fields.Wrong("include", "a list of strings");
    logprobs |= entry.get_string() == "message.output_text.logprobs";
  }
  if (logprobs) {
    return InvalidParam(top_logprobs.value_or(0) > 0 ? "top_logprobs" : "include",
                        "Log probabilities are given by /v1/chat/completions, not here.",
                        "unsupported_value");
  }
  return absl::OkStatus();
}

absl::Status CheckMetadata(const JsonFields& fields) {
  ASSIGN_OR_RETURN(const json::object* metadata, fields.Object("metadata"));
  if (metadata == nullptr) return absl::OkStatus();
  if (metadata->size() > kMetadataEntriesMax) {
    return InvalidParam(
        "metadata", absl::StrCat("`metadata` has more than ", kMetadataEntriesMax, " entries."));
  }
  for (const auto& [key, value] : *metadata) {
    if (key.size() > kMetadataKeyBytesMax || !value.is_string() ||
        value.get_string().size() > kMetadataValueBytesMax) {
      return InvalidParam("metadata", absl::StrCat("`metadata` must have keys of at most ",
                                                   kMetadataKeyBytesMax, " bytes and strings of ",
                                                   "at most ", kMetadataValueBytesMax, "."));
    }
  }
  return absl::OkStatus();
}

absl::Status ConvertTools(const JsonFields& body, json::object& chat, FieldNames& names) {
  ASSIGN_OR_RETURN(const json::array* list, body.Array("tools"));
  if (list == nullptr) return absl::OkStatus();
  json::array tools;
  for (size_t i = 0; i < list->size(); ++i) {
    const std::string path = absl::StrCat("tools[", i, "]");
    if (!(*list)[i].is_object()) return WrongValue(path, "an object", (*list)[i]);
    const json::object& tool = (*list)[i].get_object();
    const std::string prefix = path + ".";
    std::string type;
    RETURN_IF_ERROR(JsonFields(tool, prefix).RequiredString("type", &type));
    if (type != "function") return ServerToolError(path, type, "function");
    json::object function;
    CopyFields(tool, {"name", "description", "parameters", "strict"}, function);
    tools.push_back(FunctionTool(std::move(function)));
    names.Add(path + ".function", path);
  }
  chat["tools"] = std::move(tools);
  return absl::OkStatus();
}

// {"type": "function", "name"} has its name one level deeper in a chat.
absl::Status ConvertToolChoice(const JsonFields& body, json::object& chat, FieldNames& names) {
  const json::value* choice = body.Find("tool_choice");
  if (choice == nullptr) return absl::OkStatus();
  if (!choice->is_object()) {
    chat["tool_choice"] = *choice;
    return absl::OkStatus();
  }
  const JsonFields fields(choice->get_object(), "tool_choice.");
  std::string type, name;
  RETURN_IF_ERROR(fields.RequiredString("type", &type));
  if (type != "function") return fields.Wrong("type", "\"function\"");
  RETURN_IF_ERROR(fields.RequiredString("name", &name));
  chat["tool_choice"] = FunctionTool(json::object{{"name", JsonText(name)}});
  names.Add("tool_choice.function", "tool_choice");
  return absl::OkStatus();
}

// `text.format` is what a chat calls `response_format`, its schema one level higher.
absl::Status ConvertFormat(const JsonFields& body, json::object& chat, FieldNames& names) {
  ASSIGN_OR_RETURN(const json::object* text, body.Object("text"));
  if (text == nullptr) return absl::OkStatus();
  ASSIGN_OR_RETURN(const json::object* format, JsonFields(*text, "text.").Object("format"));
  if (format == nullptr) return absl::OkStatus();
  std::string type;
  RETURN_IF_ERROR(JsonFields(*format, "text.format.").RequiredString("type", &type));
  json::object converted{{"type", JsonText(type)}};
  if (type == "json_schema") {
    json::object schema;
    CopyFields(*format, {"name", "description", "schema", "strict"}, schema);
    converted["json_schema"] = std::move(schema);
  }
  chat["response_format"] = std::move(converted);
  names.Add("response_format", "text.format");
  names.Add("response_format.json_schema", "text.format");
  return absl::OkStatus();
}

absl::Status ConvertReasoning(const JsonFields& body, json::object& chat, FieldNames& names) {
  ASSIGN_OR_RETURN(const json::object* reasoning, body.Object("reasoning"));
  if (reasoning == nullptr) return absl::OkStatus();
  const JsonFields fields(*reasoning, "reasoning.");
  if (const json::value* effort = fields.Find("effort")) chat["reasoning_effort"] = *effort;
  names.Add("reasoning_effort", "reasoning.effort");
  return absl::OkStatus();
}

absl::StatusOr<json::array> PreviousItems(const JsonFields& body, ResponseStore& store) {
  std::string id;
  RETURN_IF_ERROR(body.String("previous_response_id", &id));
  if (id.empty()) return json::array();
  ASSIGN_OR_RETURN(const std::string text, store.Get(id));
  const absl::StatusOr<json::value> stored = ParseJson(text, "the stored response");
  if (!stored.ok() || !stored->is_object()) {
    return absl::InternalError(absl::StrCat("The response `", id, "` cannot be read."));
  }
  const json::value* items = stored->get_object().if_contains("items");
  if (items == nullptr || !items->is_array()) {
    return absl::InternalError(absl::StrCat("The response `", id, "` has no items."));
  }
  return items->get_array();
}

absl::StatusOr<json::array> InputItems(const JsonFields& body) {
  const json::value* input = body.Find("input");
  if (input != nullptr && input->is_string()) {
    return json::array{json::object{{"type", "message"}, {"role", "user"}, {"content", *input}}};
  }
  if (input == nullptr || !input->is_array() || input->get_array().empty()) {
    return body.Wrong("input", "a string or a list of at least one item");
  }
  return input->get_array();
}

}  // namespace

absl::StatusOr<ApiCall> ParseResponsesCall(absl::string_view body, ResponseStore& store) {
  ASSIGN_OR_RETURN(const json::object object, ParseJsonObject(body));
  const JsonFields fields(object, "");
  RETURN_IF_ERROR(RefuseUnsupported(fields));
  RETURN_IF_ERROR(CheckMetadata(fields));
  bool keep = true, ignored = false;
  RETURN_IF_ERROR(fields.Bool("store", &keep));
  RETURN_IF_ERROR(fields.Bool("parallel_tool_calls", &ignored));
  std::string instructions;
  RETURN_IF_ERROR(fields.String("instructions", &instructions));
  ASSIGN_OR_RETURN(json::array items, PreviousItems(fields, store));
  ASSIGN_OR_RETURN(const json::array input, InputItems(fields));

  ApiCall call;
  json::object chat;
  CopyFields(object, kPassedFields, chat);
  CopyFields(object, {"parallel_tool_calls"}, chat);
  json::array messages;
  if (!instructions.empty()) {
    messages.push_back(json::object{{"role", "system"}, {"content", JsonText(instructions)}});
    call.names.Add("messages[0]", "instructions");
  }
  RETURN_IF_ERROR(AddResponseItems(items, "previous_response_id", messages, call.names));
  RETURN_IF_ERROR(AddResponseItems(input, "input", messages, call.names));
  chat["messages"] = std::move(messages);
  call.names.Add("messages", "input");
  RETURN_IF_ERROR(ConvertTools(fields, chat, call.names));
  RETURN_IF_ERROR(ConvertToolChoice(fields, chat, call.names));
  RETURN_IF_ERROR(ConvertFormat(fields, chat, call.names));
  RETURN_IF_ERROR(ConvertReasoning(fields, chat, call.names));
  if (const json::value* tokens_max = fields.Find("max_output_tokens")) {
    chat["max_tokens"] = *tokens_max;
  }
  call.names.Add("max_tokens", "max_output_tokens");

  absl::StatusOr<GenerationRequest> request = ParseChatRequest(std::move(chat));
  if (!request.ok()) return call.names.Rename(request.status());
  call.request = *std::move(request);
  call.request.endpoint = "responses";
  items.insert(items.end(), input.begin(), input.end());
  call.make_form = [object, items, keep = keep && store.enabled(),
                    &store](const Generation& generation) {
    return MakeResponsesForm(generation, object, keep ? &store : nullptr, items,
                             std::time(nullptr));
  };
  return call;
}

}  // namespace facet
