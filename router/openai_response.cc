#include "router/openai_response.h"

#include <algorithm>
#include <boost/json.hpp>
#include <utility>

#include "absl/random/random.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "model/utf8.h"
#include "router/http_server.h"

namespace facet {
namespace {

namespace json = boost::json;

// JSON has no infinity; OpenAI writes this for tokens that cannot come.
constexpr double kLogprobMin = -9999.0;

json::string Text(absl::string_view text) { return json::string(text.data(), text.size()); }

std::string NewId(absl::string_view prefix) {
  static thread_local absl::BitGen random;
  return absl::StrFormat("%s%016x%08x", prefix, absl::Uniform<uint64_t>(random),
                         absl::Uniform<uint32_t>(random));
}

// U+FFFD for each byte that belongs to no character.
std::string ReplaceInvalidUtf8(absl::string_view text) {
  std::string result;
  while (!text.empty()) {
    const int size = FirstUtf8Character(text).size;
    if (size > 0) {
      absl::StrAppend(&result, text.substr(0, size));
    } else {
      AppendUtf8(0xFFFD, result);
    }
    text.remove_prefix(std::max(size, 1));
  }
  return result;
}

json::value FinishReason(v1::FinishReason reason, int tool_call_count) {
  switch (reason) {
    case v1::FINISH_REASON_UNSPECIFIED:
      return nullptr;
    case v1::FINISH_REASON_STOP:
      return tool_call_count > 0 ? "tool_calls" : "stop";
    default:
      return "length";  // tokens_max, the context, or the deadline.
  }
}

double FiniteLogprob(float logprob) { return std::max<double>(logprob, kLogprobMin); }

// {token, logprob, bytes}; `token` is made valid UTF-8, `bytes` are exact.
json::object ChatLogprob(const Vocabulary& vocabulary, int id, float logprob) {
  const absl::string_view text = vocabulary.text(id);
  json::array bytes;
  for (const char c : text) bytes.emplace_back(static_cast<uint8_t>(c));
  return {{"token", Text(ReplaceInvalidUtf8(text))},
          {"logprob", FiniteLogprob(logprob)},
          {"bytes", std::move(bytes)}};
}

json::value ChatLogprobs(const Vocabulary& vocabulary, const RelayDelta& delta) {
  json::array content;
  for (size_t i = 0; i < delta.logprobs.size(); ++i) {
    const v1::TokenLogprobs& logprobs = delta.logprobs[i];
    json::object token = ChatLogprob(vocabulary, delta.tokens[i], logprobs.logprob());
    json::array top;
    for (int k = 0; k < std::min(logprobs.top_ids_size(), logprobs.top_logprobs_size()); ++k) {
      top.push_back(
          ChatLogprob(vocabulary, static_cast<int>(logprobs.top_ids(k)), logprobs.top_logprobs(k)));
    }
    token["top_logprobs"] = std::move(top);
    content.push_back(std::move(token));
  }
  return json::object{{"content", std::move(content)}, {"refusal", nullptr}};
}

// The older form: parallel lists. `offset` is where the next token's text begins.
json::value CompletionLogprobs(const Vocabulary& vocabulary, const RelayDelta& delta, int& offset) {
  json::array tokens, token_logprobs, top_logprobs, offsets;
  for (size_t i = 0; i < delta.logprobs.size(); ++i) {
    const v1::TokenLogprobs& logprobs = delta.logprobs[i];
    const std::string text = ReplaceInvalidUtf8(vocabulary.text(delta.tokens[i]));
    json::object top;
    for (int k = 0; k < std::min(logprobs.top_ids_size(), logprobs.top_logprobs_size()); ++k) {
      const std::string top_text =
          ReplaceInvalidUtf8(vocabulary.text(static_cast<int>(logprobs.top_ids(k))));
      top[top_text] = FiniteLogprob(logprobs.top_logprobs(k));
    }
    tokens.push_back(Text(text));
    token_logprobs.push_back(FiniteLogprob(logprobs.logprob()));
    top_logprobs.push_back(std::move(top));
    offsets.push_back(offset);
    offset += static_cast<int>(
        std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
  }
  return json::object{{"tokens", std::move(tokens)},
                      {"token_logprobs", std::move(token_logprobs)},
                      {"top_logprobs", std::move(top_logprobs)},
                      {"text_offset", std::move(offsets)}};
}

json::object UsageOf(const Usage& usage) {
  return {{"prompt_tokens", usage.prompt_tokens},
          {"completion_tokens", usage.completion_tokens},
          {"total_tokens", usage.prompt_tokens + usage.completion_tokens},
          {"prompt_tokens_details", json::object{{"cached_tokens", usage.cached_prompt_tokens}}}};
}

// The part of an answer that all its chunks share.
json::object Envelope(const std::string& id, const char* object, int64_t created_s,
                      const ServedModel& model) {
  return {{"id", Text(id)},
          {"object", object},
          {"created", created_s},
          {"model", Text(model.name)},
          {"system_fingerprint",
           Text(absl::StrCat("fp_", absl::BytesToHexString(model.digest).substr(0, 10)))}};
}

// Unique, since the answer's own id is.
std::string ToolCallId(const std::string& id, int choice, int call) {
  return absl::StrCat("call_", id.substr(id.find('-') + 1), "_", choice, "_", call);
}

json::object ToolCall(const std::string& id, int choice, const OutputParser::ToolCallDelta& call) {
  json::object function;
  json::object result{{"index", call.index}};
  if (!call.name.empty()) {
    result["id"] = Text(ToolCallId(id, choice, call.index));
    result["type"] = "function";
    function["name"] = Text(call.name);
  }
  function["arguments"] = Text(call.arguments);
  result["function"] = std::move(function);
  return result;
}

}  // namespace

OpenAiResponse::OpenAiResponse(const Generation& generation, bool chat, int64_t now_s)
    : generation_(generation),
      chat_(chat),
      created_s_(now_s),
      id_(NewId(chat ? "chatcmpl-" : "cmpl-")),
      choices_(generation.choice_count()) {}

std::string OpenAiResponse::Chunk(int index, const char* content_name, json::value content,
                                  json::value logprobs, json::value finish_reason) const {
  json::object choice{{"index", index}};
  choice[content_name] = std::move(content);
  choice["logprobs"] = std::move(logprobs);
  choice["finish_reason"] = std::move(finish_reason);
  json::object chunk = Envelope(id_, chat_ ? "chat.completion.chunk" : "text_completion",
                                created_s_, generation_.model());
  chunk["choices"] = json::array{std::move(choice)};
  if (generation_.request().include_usage) chunk["usage"] = nullptr;
  return EventText(json::serialize(chunk));
}

std::string OpenAiResponse::Events(const std::vector<Generation::ChoiceDelta>& deltas) {
  std::string events;
  for (const auto& [index, delta] : deltas) {
    events += chat_ ? ChatEvents(index, delta) : CompletionEvents(index, delta);
  }
  return events;
}

std::string OpenAiResponse::ChatEvents(int index, const RelayDelta& delta) {
  std::string events;
  if (!choices_[index].begun) {
    choices_[index].begun = true;
    events += Chunk(index, "delta", json::object{{"role", "assistant"}, {"content", ""}}, nullptr,
                    nullptr);
  }
  json::object text;
  if (!delta.text.reasoning.empty()) text["reasoning_content"] = Text(delta.text.reasoning);
  if (!delta.text.content.empty()) text["content"] = Text(delta.text.content);
  json::array calls;
  for (const OutputParser::ToolCallDelta& call : delta.text.tool_calls) {
    calls.push_back(ToolCall(id_, index, call));
  }
  if (!calls.empty()) text["tool_calls"] = std::move(calls);
  if (!text.empty() || !delta.logprobs.empty()) {
    json::value logprobs;
    if (!delta.logprobs.empty()) {
      logprobs = ChatLogprobs(*generation_.model().vocabulary, delta);
    }
    events += Chunk(index, "delta", std::move(text), std::move(logprobs), nullptr);
  }
  if (delta.finish_reason != v1::FINISH_REASON_UNSPECIFIED) {
    events += Chunk(index, "delta", json::object(), nullptr,
                    FinishReason(delta.finish_reason, generation_.tool_call_count(index)));
  }
  return events;
}

std::string OpenAiResponse::CompletionEvents(int index, const RelayDelta& delta) {
  std::string events;
  Choice& choice = choices_[index];
  const std::string echo = choice.begun ? "" : generation_.echo(index);
  choice.begun = true;
  if (!delta.text.content.empty() || !echo.empty() || !delta.logprobs.empty()) {
    json::value logprobs;
    if (!delta.logprobs.empty()) {
      logprobs = CompletionLogprobs(*generation_.model().vocabulary, delta, choice.text_offset);
    }
    events += Chunk(index, "text", Text(echo + delta.text.content), std::move(logprobs), nullptr);
  }
  if (delta.finish_reason != v1::FINISH_REASON_UNSPECIFIED) {
    events += Chunk(index, "text", "", nullptr, FinishReason(delta.finish_reason, 0));
  }
  return events;
}

std::string OpenAiResponse::LastEvents() const {
  std::string events;
  if (generation_.request().include_usage) {
    json::object chunk = Envelope(id_, chat_ ? "chat.completion.chunk" : "text_completion",
                                  created_s_, generation_.model());
    chunk["choices"] = json::array();
    chunk["usage"] = UsageOf(generation_.usage());
    events += EventText(json::serialize(chunk));
  }
  return events + EventText("[DONE]");
}

void OpenAiResponse::Collect(std::vector<Generation::ChoiceDelta> deltas) {
  for (auto& [index, delta] : deltas) {
    RelayDelta& all = choices_[index].collected;
    all.text.content += delta.text.content;
    all.text.reasoning += delta.text.reasoning;
    for (OutputParser::ToolCallDelta& call : delta.text.tool_calls) {
      if (call.name.empty() && !all.text.tool_calls.empty()) {
        all.text.tool_calls.back().arguments += call.arguments;
      } else {
        all.text.tool_calls.push_back(std::move(call));
      }
    }
    all.tokens.insert(all.tokens.end(), delta.tokens.begin(), delta.tokens.end());
    std::move(delta.logprobs.begin(), delta.logprobs.end(), std::back_inserter(all.logprobs));
    all.finish_reason = delta.finish_reason;
  }
}

std::string OpenAiResponse::Whole() const {
  json::array choices;
  for (int i = 0; i < static_cast<int>(choices_.size()); ++i) {
    choices.push_back(chat_ ? WholeChat(i) : WholeCompletion(i));
  }
  json::object answer =
      Envelope(id_, chat_ ? "chat.completion" : "text_completion", created_s_, generation_.model());
  answer["choices"] = std::move(choices);
  answer["usage"] = UsageOf(generation_.usage());
  return json::serialize(answer);
}

json::object OpenAiResponse::WholeChat(int index) const {
  const RelayDelta& all = choices_[index].collected;
  json::object message{
      {"role", "assistant"}, {"content", Text(all.text.content)}, {"refusal", nullptr}};
  if (!all.text.reasoning.empty()) message["reasoning_content"] = Text(all.text.reasoning);
  if (!all.text.tool_calls.empty()) {
    json::array calls;
    for (const OutputParser::ToolCallDelta& call : all.text.tool_calls) {
      calls.push_back(ToolCall(id_, index, call));
      calls.back().as_object().erase("index");
    }
    message["tool_calls"] = std::move(calls);
    if (all.text.content.empty()) message["content"] = nullptr;
  }
  json::object choice{{"index", index}, {"message", std::move(message)}};
  choice["logprobs"] = nullptr;
  if (generation_.request().sampling.want_logprobs) {
    choice["logprobs"] = ChatLogprobs(*generation_.model().vocabulary, all);
  }
  choice["finish_reason"] = FinishReason(all.finish_reason, generation_.tool_call_count(index));
  return choice;
}

json::object OpenAiResponse::WholeCompletion(int index) const {
  const RelayDelta& all = choices_[index].collected;
  json::object choice{{"index", index}, {"text", Text(generation_.echo(index) + all.text.content)}};
  choice["logprobs"] = nullptr;
  if (generation_.request().sampling.want_logprobs) {
    int offset = 0;
    choice["logprobs"] = CompletionLogprobs(*generation_.model().vocabulary, all, offset);
  }
  choice["finish_reason"] = FinishReason(all.finish_reason, 0);
  return choice;
}

}  // namespace facet
