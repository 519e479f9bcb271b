#include "router/api/openai_request.h"

#include <boost/json.hpp>
#include <cstdint>
#include <limits>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "router/api/api_error.h"
#include "router/api/json_fields.h"
#include "router/api/structured_output.h"
#include "router/media/media_parts.h"

namespace facet {
namespace {

namespace json = boost::json;

// Bounds of lists in a request. OpenAI allows 4 stop strings, 128 tools and 128 choices.
constexpr int kStopStringsMax = 16;
constexpr int kStopBytesMax = 1024;
constexpr int kToolsMax = 128;
constexpr int kChoicesMax = 128;
constexpr int kLogitBiasMax = 4096;
constexpr int64_t kIntegerMax = std::numeric_limits<int32_t>::max();
constexpr int64_t kPriorityMax = 1'000'000;
// Of /v1/completions, as OpenAI has it.
constexpr uint32_t kCompletionTokensDefault = 16;

// ------------------------------------------------------- what both endpoints have

absl::Status ParseLogitBias(const JsonFields& fields, SamplingOptions& sampling) {
  ASSIGN_OR_RETURN(const json::object* bias, fields.Object("logit_bias"));
  if (bias == nullptr) return absl::OkStatus();
  if (bias->size() > kLogitBiasMax) {
    return InvalidParam("logit_bias",
                        absl::StrCat("`logit_bias` has more than ", kLogitBiasMax, " entries."));
  }
  const JsonFields entries(*bias, "logit_bias.");
  for (const auto& [key, value] : *bias) {
    const absl::string_view name(key.data(), key.size());
    uint32_t id;
    if (!absl::SimpleAtoi(name, &id)) {
      return InvalidParam("logit_bias",
                          absl::StrCat("`logit_bias` has the key \"", name, "\": no token id."));
    }
    std::optional<double> number;
    RETURN_IF_ERROR(entries.Number(name, -100, 100, &number));
    if (number.has_value()) sampling.logit_bias[id] = static_cast<float>(*number);
  }
  return absl::OkStatus();
}

absl::Status ParseSampling(const JsonFields& fields, SamplingOptions& sampling) {
  std::optional<double> temperature, top_p, min_p, presence, frequency, repetition;
  std::optional<int64_t> top_k, seed;
  RETURN_IF_ERROR(fields.Number("temperature", 0, 2, &temperature));
  RETURN_IF_ERROR(fields.Number("top_p", 0, 1, &top_p));
  RETURN_IF_ERROR(fields.Number("min_p", 0, 1, &min_p));
  RETURN_IF_ERROR(fields.Number("presence_penalty", -2, 2, &presence));
  RETURN_IF_ERROR(fields.Number("frequency_penalty", -2, 2, &frequency));
  RETURN_IF_ERROR(fields.Number("repetition_penalty", 0, 10, &repetition));
  RETURN_IF_ERROR(fields.Integer("top_k", -1, kIntegerMax, &top_k));
  RETURN_IF_ERROR(fields.Integer("seed", std::numeric_limits<int64_t>::min(),
                                 std::numeric_limits<int64_t>::max(), &seed));
  if (repetition == 0.0) return fields.Wrong("repetition_penalty", "above 0");
  if (temperature) sampling.temperature = static_cast<float>(*temperature);
  // The contract has no 0 here; the smallest share keeps the best token alone, as 0 means.
  if (top_p) sampling.top_p = std::max(static_cast<float>(*top_p), 1e-9f);
  if (top_k) sampling.top_k = static_cast<uint32_t>(std::max<int64_t>(*top_k, 0));
  if (seed) sampling.seed = static_cast<uint64_t>(*seed);
  sampling.min_p = static_cast<float>(min_p.value_or(0));
  sampling.presence_penalty = static_cast<float>(presence.value_or(0));
  sampling.frequency_penalty = static_cast<float>(frequency.value_or(0));
  sampling.repetition_penalty = static_cast<float>(repetition.value_or(1));
  return ParseLogitBias(fields, sampling);
}

absl::Status ParseStop(const JsonFields& fields, std::vector<std::string>& stop) {
  const json::value* value = fields.Find("stop");
  if (value == nullptr) return absl::OkStatus();
  if (value->is_string()) {
    stop.emplace_back(TextView(value->get_string()));
  } else if (value->is_array()) {
    const json::array& list = value->get_array();
    if (list.size() > kStopStringsMax) {
      return InvalidParam("stop",
                          absl::StrCat("`stop` has more than ", kStopStringsMax, " strings."));
    }
    for (size_t i = 0; i < list.size(); ++i) {
      if (!list[i].is_string())
        return WrongValue(absl::StrCat("stop[", i, "]"), "a string", list[i]);
      stop.emplace_back(TextView(list[i].get_string()));
    }
  } else {
    return fields.Wrong("stop", "a string or a list of strings");
  }
  for (const std::string& text : stop) {
    if (text.empty() || text.size() > kStopBytesMax) {
      return InvalidParam("stop", absl::StrCat("`stop` has a string that is empty or longer than ",
                                               kStopBytesMax, " bytes."));
    }
  }
  return absl::OkStatus();
}

absl::Status ParseStreamOptions(const JsonFields& fields, GenerationRequest& request) {
  RETURN_IF_ERROR(fields.Bool("stream", &request.stream));
  ASSIGN_OR_RETURN(const json::object* options, fields.Object("stream_options"));
  if (options == nullptr) return absl::OkStatus();
  if (!request.stream) {
    return InvalidParam("stream_options", "`stream_options` is for `stream` = true only.");
  }
  const JsonFields option_fields(*options, "stream_options.");
  RETURN_IF_ERROR(option_fields.Bool("include_usage", &request.include_usage));
  return option_fields.Bool("continuous_usage_stats", &request.continuous_usage);
}

absl::Status ParseCommon(const JsonFields& fields, GenerationRequest& request) {
  RETURN_IF_ERROR(fields.String("model", &request.model));
  RETURN_IF_ERROR(ParseSampling(fields, request.sampling));
  RETURN_IF_ERROR(ParseStop(fields, request.stop));
  RETURN_IF_ERROR(ParseStreamOptions(fields, request));
  RETURN_IF_ERROR(ParseStructuredOutput(fields, request.structure));
  RETURN_IF_ERROR(fields.Bool("ignore_eos", &request.ignore_eos));
  std::optional<int64_t> choices, tokens_max, priority;
  RETURN_IF_ERROR(fields.Integer("priority", -kPriorityMax, kPriorityMax, &priority));
  request.priority = static_cast<int32_t>(priority.value_or(0));
  RETURN_IF_ERROR(fields.Integer("n", 1, kChoicesMax, &choices));
  RETURN_IF_ERROR(fields.Integer("max_tokens", request.echo ? 0 : 1, kIntegerMax, &tokens_max));
  // A worker gives one token at least; with none wanted it is not shown.
  request.prompt_only = tokens_max == 0;
  if (request.prompt_only) tokens_max = 1;
  request.choices_per_prompt = static_cast<int>(choices.value_or(1));
  if (tokens_max) request.tokens_max = static_cast<uint32_t>(*tokens_max);
  return absl::OkStatus();
}

// vLLM's, on both endpoints.
absl::Status ParsePromptLogprobs(const JsonFields& fields, GenerationRequest& request) {
  std::optional<int64_t> top;
  RETURN_IF_ERROR(fields.Integer("prompt_logprobs", 0, 20, &top));
  if (!top) return absl::OkStatus();
  if (request.stream) {
    return InvalidParam("prompt_logprobs", "`prompt_logprobs` is for `stream` = false only.");
  }
  request.show_prompt_logprobs = true;
  // One list serves `echo` too, which shows as many alternatives as it was asked for.
  request.prompt_logprobs =
      std::max(request.prompt_logprobs.value_or(0), static_cast<uint32_t>(*top));
  return absl::OkStatus();
}

// ------------------------------------------------------------------------- chat

absl::Status CheckPart(const json::value& part, const std::string& path) {
  if (!part.is_object()) return WrongValue(path, "an object with a `type`", part);
  const std::string prefix = absl::StrCat(path, ".");
  const JsonFields fields(part.get_object(), prefix);
  std::string type;
  RETURN_IF_ERROR(fields.String("type", &type));
  if (type.empty()) return fields.Wrong("type", "the kind of part, e.g. \"text\"");
  if (IsMediaPartType(type)) return absl::OkStatus();
  if (type != "text") {
    return InvalidParam(
        path,
        absl::StrCat(
            "`", path, "` is of type \"", type,
            "\"; this server takes text, image_url, input_audio, audio_url and video_url."),
        "unsupported_value");
  }
  const json::value* text = fields.Find("text");
  if (text == nullptr || !text->is_string()) return fields.Wrong("text", "a string");
  return absl::OkStatus();
}

absl::Status CheckContent(const JsonFields& fields, bool may_be_absent) {
  const json::value* content = fields.Find("content");
  if (content == nullptr) {
    return may_be_absent ? absl::OkStatus()
                         : fields.Wrong("content", "a string or a list of parts");
  }
  if (content->is_string()) return absl::OkStatus();
  if (!content->is_array()) return fields.Wrong("content", "a string or a list of parts");
  const json::array& parts = content->get_array();
  for (size_t i = 0; i < parts.size(); ++i) {
    RETURN_IF_ERROR(CheckPart(parts[i], absl::StrCat(fields.PathOf("content"), "[", i, "]")));
  }
  return absl::OkStatus();
}

// OpenAI sends the arguments as JSON text, the template takes the object itself.
absl::Status ParseArguments(json::object& function, const std::string& path) {
  json::value& arguments = function["arguments"];
  if (arguments.is_null()) arguments = json::object();
  if (arguments.is_string()) {
    json::error_code error;
    json::value parsed;
    if (arguments.get_string().empty()) {
      parsed = json::object();
    } else {
      parsed = json::parse(arguments.get_string(), error);
    }
    if (error || !parsed.is_object()) {
      return InvalidParam(path, absl::StrCat("`", path, "` is not the JSON text of an object."));
    }
    arguments = std::move(parsed);
  }
  if (!arguments.is_object()) return WrongValue(path, "the JSON text of an object", arguments);
  return absl::OkStatus();
}

absl::Status ParseToolCalls(const JsonFields& fields, json::object& message) {
  ASSIGN_OR_RETURN(const json::array* present, fields.Array("tool_calls"));
  if (present == nullptr) return absl::OkStatus();
  json::array& calls = message["tool_calls"].get_array();
  for (size_t i = 0; i < calls.size(); ++i) {
    const std::string path = absl::StrCat(fields.PathOf("tool_calls"), "[", i, "]");
    if (!calls[i].is_object()) return WrongValue(path, "an object", calls[i]);
    json::value* function = calls[i].get_object().if_contains("function");
    if (function == nullptr || !function->is_object()) {
      return InvalidParam(path + ".function",
                          absl::StrCat("`", path, ".function` is required: an object."));
    }
    const std::string prefix = path + ".function.";
    const JsonFields function_fields(function->get_object(), prefix);
    std::string name;
    RETURN_IF_ERROR(function_fields.String("name", &name));
    if (name.empty()) return function_fields.Wrong("name", "a string that is not empty");
    RETURN_IF_ERROR(ParseArguments(function->get_object(), prefix + "arguments"));
  }
  return absl::OkStatus();
}

absl::Status ParseMessage(json::value& message, const std::string& path) {
  if (!message.is_object()) return WrongValue(path, "an object", message);
  const std::string prefix = path + ".";
  const JsonFields fields(message.get_object(), prefix);
  std::string role, ignored;
  RETURN_IF_ERROR(fields.String("role", &role));
  static constexpr absl::string_view kRoles[] = {"system", "developer", "user", "assistant",
                                                 "tool"};
  if (!absl::c_linear_search(kRoles, role)) {
    return InvalidParam(prefix + "role",
                        absl::StrCat("`", prefix,
                                     "role` must be one of system, developer, user, "
                                     "assistant and tool."));
  }
  RETURN_IF_ERROR(fields.String("name", &ignored));
  RETURN_IF_ERROR(fields.String("tool_call_id", &ignored));
  RETURN_IF_ERROR(fields.String("reasoning", &ignored));
  RETURN_IF_ERROR(fields.String("reasoning_content", &ignored));
  RETURN_IF_ERROR(ParseToolCalls(fields, message.get_object()));
  return CheckContent(fields, /*may_be_absent=*/role == "assistant");
}

absl::Status ParseMessages(json::object& body) {
  const JsonFields fields(body, "");
  ASSIGN_OR_RETURN(const json::array* present, fields.Array("messages"));
  if (present == nullptr || present->empty()) {
    return InvalidParam("messages", "`messages` is required: a list of at least one message.");
  }
  json::array& messages = body["messages"].get_array();
  for (size_t i = 0; i < messages.size(); ++i) {
    RETURN_IF_ERROR(ParseMessage(messages[i], absl::StrCat("messages[", i, "]")));
  }
  return absl::OkStatus();
}

absl::Status CheckTool(const json::value& tool, const std::string& path) {
  if (!tool.is_object()) return WrongValue(path, "an object", tool);
  const std::string prefix = path + ".";
  const JsonFields fields(tool.get_object(), prefix);
  std::string type;
  RETURN_IF_ERROR(fields.String("type", &type));
  if (type != "function") {
    return InvalidParam(prefix + "type", absl::StrCat("`", prefix, "type` must be \"function\"."));
  }
  ASSIGN_OR_RETURN(const json::object* function, fields.Object("function"));
  if (function == nullptr) return fields.Wrong("function", "an object");
  const std::string function_prefix = prefix + "function.";
  const JsonFields function_fields(*function, function_prefix);
  std::string name, description;
  RETURN_IF_ERROR(function_fields.String("name", &name));
  if (name.empty()) return function_fields.Wrong("name", "a string that is not empty");
  RETURN_IF_ERROR(function_fields.String("description", &description));
  return function_fields.Object("parameters").status();
}

// Leaves `tools` in the body only if the model shall see them.
absl::Status ParseTools(json::object& body, GenerationRequest& request) {
  const JsonFields fields(body, "");
  ASSIGN_OR_RETURN(const json::array* tools, fields.Array("tools"));
  const size_t count = tools == nullptr ? 0 : tools->size();
  if (count > kToolsMax) {
    return InvalidParam("tools", absl::StrCat("`tools` has more than ", kToolsMax, " entries."));
  }
  for (size_t i = 0; i < count; ++i) {
    RETURN_IF_ERROR(CheckTool((*tools)[i], absl::StrCat("tools[", i, "]")));
  }
  ASSIGN_OR_RETURN(const bool call_tools, ParseToolChoice(fields, request.structure));
  if (!call_tools) body.erase("tools");
  request.parse_tool_calls = call_tools;
  return absl::OkStatus();
}

// Gemma thinks or does not; how much is its own affair.
absl::StatusOr<std::optional<bool>> ParseReasoningEffort(const JsonFields& fields) {
  static constexpr absl::string_view kOff[] = {"none", "minimal"};
  static constexpr absl::string_view kOn[] = {"low", "medium", "high", "xhigh"};
  if (fields.Find("reasoning_effort") == nullptr) return std::nullopt;
  std::string effort;
  RETURN_IF_ERROR(fields.String("reasoning_effort", &effort));
  if (absl::c_linear_search(kOff, effort)) return false;
  if (absl::c_linear_search(kOn, effort)) return true;
  return fields.Wrong("reasoning_effort", "one of none, minimal, low, medium, high and xhigh");
}

// The template's own arguments go where RenderChat reads them; from elsewhere they are not taken.
absl::Status ParseTemplateArguments(json::object& body) {
  const JsonFields fields(body, "");
  ASSIGN_OR_RETURN(const json::object* present, fields.Object("chat_template_kwargs"));
  const json::object arguments = present == nullptr ? json::object() : *present;
  const JsonFields argument_fields(arguments, "chat_template_kwargs.");
  ASSIGN_OR_RETURN(const std::optional<bool> effort, ParseReasoningEffort(fields));
  for (const char* name : {"enable_thinking", "preserve_thinking", "add_generation_prompt"}) {
    std::optional<bool> value;
    if (absl::string_view(name) == "enable_thinking") value = effort;
    if (argument_fields.Find(name) != nullptr) value.emplace();
    if (value) RETURN_IF_ERROR(argument_fields.Bool(name, &*value));
    body.erase(name);
    if (value) body[name] = *value;
  }
  return absl::OkStatus();
}

absl::Status ParseChatLogprobs(const JsonFields& fields, SamplingOptions& sampling) {
  std::optional<int64_t> top;
  RETURN_IF_ERROR(fields.Bool("logprobs", &sampling.want_logprobs));
  RETURN_IF_ERROR(fields.Integer("top_logprobs", 0, 20, &top));
  if (top.value_or(0) > 0 && !sampling.want_logprobs) {
    return InvalidParam("top_logprobs", "`top_logprobs` is for `logprobs` = true only.");
  }
  sampling.top_logprobs = static_cast<uint32_t>(top.value_or(0));
  return absl::OkStatus();
}

// Checks what a chat prompt is made of and brings it into the form that RenderChat takes.
absl::StatusOr<ChatPrompt> ParseChatPrompt(json::object body, GenerationRequest& request) {
  RETURN_IF_ERROR(ParseMessages(body));
  ASSIGN_OR_RETURN(request.media, TakeMediaParts(body));
  RETURN_IF_ERROR(ParseTools(body, request));
  RETURN_IF_ERROR(ParseTemplateArguments(body));
  return std::make_shared<const json::object>(std::move(body));
}

// ------------------------------------------------------------------ completions

absl::StatusOr<std::vector<int>> ParseIds(const json::array& list, const std::string& path) {
  std::vector<int> ids;
  ids.reserve(list.size());
  for (size_t i = 0; i < list.size(); ++i) {
    json::error_code error;
    const int64_t id = list[i].to_number<int64_t>(error);
    if (error || id < 0 || id > kIntegerMax) {
      return WrongValue(absl::StrCat(path, "[", i, "]"), "a token id", list[i]);
    }
    ids.push_back(static_cast<int>(id));
  }
  return ids;
}

absl::Status ParsePrompts(const JsonFields& fields, std::vector<Prompt>& prompts) {
  static constexpr char kExpected[] = "a string, a list of strings, token ids, or lists of those";
  const json::value* value = fields.Find("prompt");
  if (value == nullptr) return fields.Wrong("prompt", kExpected);
  if (value->is_string()) {
    prompts.emplace_back(std::string(TextView(value->get_string())));
    return absl::OkStatus();
  }
  if (!value->is_array() || value->get_array().empty()) return fields.Wrong("prompt", kExpected);
  const json::array& list = value->get_array();
  if (list[0].is_number()) {
    ASSIGN_OR_RETURN(prompts.emplace_back(), ParseIds(list, "prompt"));
    return absl::OkStatus();
  }
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string path = absl::StrCat("prompt[", i, "]");
    if (list[i].is_string() && list[0].is_string()) {
      prompts.emplace_back(std::string(TextView(list[i].get_string())));
    } else if (list[i].is_array() && list[0].is_array()) {
      ASSIGN_OR_RETURN(prompts.emplace_back(), ParseIds(list[i].get_array(), path));
    } else {
      return WrongValue(path, "of one kind with the rest: strings, or lists of token ids", list[i]);
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<GenerationRequest> ParseChatRequest(absl::string_view body) {
  ASSIGN_OR_RETURN(json::object object, ParseJsonObject(body));
  return ParseChatRequest(std::move(object));
}

absl::StatusOr<GenerationRequest> ParseChatRequest(json::object body) {
  GenerationRequest request;
  request.endpoint = "chat";
  request.parse_chat = true;
  const JsonFields fields(body, "");
  RETURN_IF_ERROR(ParseCommon(fields, request));
  RETURN_IF_ERROR(ParseChatLogprobs(fields, request.sampling));
  RETURN_IF_ERROR(ParsePromptLogprobs(fields, request));
  std::optional<int64_t> tokens_max;
  RETURN_IF_ERROR(fields.Integer("max_completion_tokens", 1, kIntegerMax, &tokens_max));
  if (tokens_max) request.tokens_max = static_cast<uint32_t>(*tokens_max);
  ASSIGN_OR_RETURN(request.prompts.emplace_back(), ParseChatPrompt(std::move(body), request));
  return request;
}

absl::StatusOr<GenerationRequest> ParseCompletionRequest(absl::string_view body) {
  ASSIGN_OR_RETURN(json::object object, ParseJsonObject(body));
  GenerationRequest request;
  request.endpoint = "completions";
  ASSIGN_OR_RETURN(request.media, TakeMediaList(object));
  const JsonFields fields(object, "");
  RETURN_IF_ERROR(ParsePrompts(fields, request.prompts));
  if (!request.media.empty() && request.prompts.size() != 1) {
    return InvalidParam("media", "`media` is for requests with one prompt.");
  }
  RETURN_IF_ERROR(fields.Bool("echo", &request.echo));
  RETURN_IF_ERROR(ParseCommon(fields, request));
  if (!request.tokens_max) request.tokens_max = kCompletionTokensDefault;
  if (request.prompts.size() * request.choices_per_prompt > kChoicesMax) {
    return InvalidParam(
        "prompt", absl::StrCat("`prompt` and `n` ask for more than ", kChoicesMax, " answers."));
  }
  std::optional<int64_t> top;
  RETURN_IF_ERROR(fields.Integer("logprobs", 0, 20, &top));
  request.sampling.want_logprobs = top.has_value();
  request.sampling.top_logprobs = static_cast<uint32_t>(top.value_or(0));
  if (request.echo && request.sampling.want_logprobs) {
    request.prompt_logprobs = request.sampling.top_logprobs;
  }
  RETURN_IF_ERROR(ParsePromptLogprobs(fields, request));
  std::string suffix;
  RETURN_IF_ERROR(fields.String("suffix", &suffix));
  if (!suffix.empty()) {
    return InvalidParam("suffix", "`suffix` is not supported.", "unsupported_value");
  }
  return request;
}

absl::StatusOr<TokenizeRequest> ParseTokenizeRequest(absl::string_view body) {
  ASSIGN_OR_RETURN(json::object object, ParseJsonObject(body));
  const JsonFields fields(object, "");
  TokenizeRequest request;
  RETURN_IF_ERROR(fields.String("model", &request.generation.model));
  RETURN_IF_ERROR(fields.Bool("return_token_strs", &request.return_token_strs));
  if (fields.Find("messages") != nullptr) {
    ASSIGN_OR_RETURN(request.generation.prompts.emplace_back(),
                     ParseChatPrompt(std::move(object), request.generation));
    return request;
  }
  RETURN_IF_ERROR(fields.Bool("add_special_tokens", &request.add_special_tokens));
  std::string prompt;
  if (fields.Find("prompt") == nullptr) return fields.Wrong("prompt", "a string");
  RETURN_IF_ERROR(fields.String("prompt", &prompt));
  request.generation.prompts.emplace_back(std::move(prompt));
  return request;
}

absl::StatusOr<DetokenizeRequest> ParseDetokenizeRequest(absl::string_view body) {
  ASSIGN_OR_RETURN(const json::object object, ParseJsonObject(body));
  const JsonFields fields(object, "");
  DetokenizeRequest request;
  RETURN_IF_ERROR(fields.String("model", &request.model));
  ASSIGN_OR_RETURN(const json::array* tokens, fields.Array("tokens"));
  if (tokens == nullptr) return fields.Wrong("tokens", "a list of token ids");
  ASSIGN_OR_RETURN(request.tokens, ParseIds(*tokens, "tokens"));
  return request;
}

}  // namespace facet
