#include "router/api/openai_response.h"

#include <algorithm>
#include <boost/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "model/utf8.h"
#include "router/api/answer_parts.h"
#include "router/api/api_error.h"
#include "router/api/json_fields.h"
#include "router/http/http_server.h"

namespace facet {
namespace {

namespace json = boost::json;

// JSON has no infinity; OpenAI writes this for tokens that cannot come.
constexpr double kLogprobMin = -9999.0;

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
  return {{"token", JsonText(ReplaceInvalidUtf8(text))},
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

// The older form: parallel lists, that grow token by token.
class CompletionLogprobs {
 public:
  // `offset`: where the first token's text begins, in characters.
  CompletionLogprobs(const Vocabulary& vocabulary, int offset)
      : vocabulary_(vocabulary), offset_(offset) {}

  // `top_count`: alternatives that are shown; the token itself is always among them. Null: the
  // first token of a prompt, which follows nothing.
  void Add(int id, const v1::TokenLogprobs* logprobs, int top_count) {
    const std::string text = ReplaceInvalidUtf8(vocabulary_.text(id));
    tokens_.push_back(JsonText(text));
    offsets_.push_back(offset_);
    // Special pieces are no part of the text.
    if (!vocabulary_.IsSpecial(id)) offset_ += CharacterCount(text);
    if (logprobs == nullptr) {
      token_logprobs_.push_back(nullptr);
      top_logprobs_.push_back(nullptr);
      return;
    }
    json::object top;
    for (int k = 0; k < std::min(top_count, logprobs->top_ids_size()); ++k) {
      const int top_id = static_cast<int>(logprobs->top_ids(k));
      top[ReplaceInvalidUtf8(vocabulary_.text(top_id))] = FiniteLogprob(logprobs->top_logprobs(k));
    }
    if (top_count > 0) top.emplace(text, FiniteLogprob(logprobs->logprob()));
    token_logprobs_.push_back(FiniteLogprob(logprobs->logprob()));
    top_logprobs_.push_back(std::move(top));
  }

  int offset() const { return offset_; }
  json::object Take() {
    return {{"tokens", std::move(tokens_)},
            {"token_logprobs", std::move(token_logprobs_)},
            {"top_logprobs", std::move(top_logprobs_)},
            {"text_offset", std::move(offsets_)}};
  }

 private:
  static int CharacterCount(const std::string& text) {
    return static_cast<int>(
        std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
  }

  const Vocabulary& vocabulary_;
  int offset_;
  json::array tokens_, token_logprobs_, top_logprobs_, offsets_;
};

// vLLM's form: for each token of the prompt its id and the alternatives' with what is known of
// them; null for the first. A token that is none of the alternatives has no rank.
json::array PromptLogprobs(const Vocabulary& vocabulary, const v1::GenerateRequest& request,
                           const std::vector<v1::TokenLogprobs>& prompt_logprobs) {
  json::array list{nullptr};
  for (size_t i = 0; i < prompt_logprobs.size(); ++i) {
    const v1::TokenLogprobs& logprobs = prompt_logprobs[i];
    json::object entry;
    const auto add = [&](uint32_t id, float logprob, json::value rank) {
      entry.emplace(
          absl::StrCat(id),
          json::object{{"logprob", FiniteLogprob(logprob)},
                       {"rank", std::move(rank)},
                       {"decoded_token",
                        JsonText(ReplaceInvalidUtf8(vocabulary.text(static_cast<int>(id))))}});
    };
    for (int k = 0; k < logprobs.top_ids_size(); ++k) {
      add(logprobs.top_ids(k), logprobs.top_logprobs(k), k + 1);
    }
    add(request.prompt_tokens(static_cast<int>(i) + 1), logprobs.logprob(), nullptr);
    list.push_back(std::move(entry));
  }
  return list;
}

json::object UsageOf(const Usage& usage) {
  return {{"prompt_tokens", usage.prompt_tokens},
          {"completion_tokens", usage.completion_tokens},
          {"total_tokens", usage.prompt_tokens + usage.completion_tokens},
          {"completion_tokens_details", json::object{{"reasoning_tokens", usage.reasoning_tokens}}},
          {"prompt_tokens_details", json::object{{"cached_tokens", usage.cached_prompt_tokens}}}};
}

// The part of an answer that all its chunks share.
json::object Envelope(const std::string& id, const char* object, int64_t created_s,
                      const Generation& generation) {
  const ServedModel& model = generation.model();
  return {{"id", JsonText(id)},
          {"object", object},
          {"created", created_s},
          {"model", JsonText(generation.model_name())},
          {"system_fingerprint",
           JsonText(absl::StrCat("fp_", absl::BytesToHexString(model.digest).substr(0, 10)))}};
}

json::object ToolCall(const std::string& id, int choice, const OutputParser::ToolCallDelta& call) {
  json::object function;
  json::object result{{"index", call.index}};
  if (!call.name.empty()) {
    result["id"] = JsonText(ToolCallId(id, choice, call.index));
    result["type"] = "function";
    function["name"] = JsonText(call.name);
  }
  function["arguments"] = JsonText(call.arguments);
  result["function"] = std::move(function);
  return result;
}

// Under both names that clients look for.
void AddReasoning(const std::string& text, json::object& message) {
  if (text.empty()) return;
  for (const char* name : {"reasoning_content", "reasoning"}) message[name] = JsonText(text);
}

class OpenAiForm final : public AnswerForm {
 public:
  OpenAiForm(const Generation& generation, bool chat, int64_t now_s)
      : generation_(generation),
        chat_(chat),
        created_s_(now_s),
        id_(NewAnswerId(chat ? "chatcmpl-" : "cmpl-")),
        choices_(generation.choice_count()) {}

  std::string Events(const std::vector<Generation::ChoiceDelta>& deltas) override;
  std::string LastEvents() override;
  std::string ErrorEvents(const absl::Status& error) override {
    return EventText(ErrorBody(error));
  }
  void Collect(std::vector<Generation::ChoiceDelta> deltas) override;
  std::string Whole() override;

 private:
  struct Choice {
    bool begun = false;   // A chunk of it was written.
    int text_offset = 0;  // In characters, of completions' logprobs.
    RelayDelta collected;
  };

  std::string ChatEvents(int index, const RelayDelta& delta);
  std::string CompletionEvents(int index, const RelayDelta& delta);
  // One event with one choice; `content_name` is "delta" or "text".
  std::string Chunk(int index, const char* content_name, json::value content, json::value logprobs,
                    json::value finish_reason) const;
  // The older form, of completions; null if not asked for. `first`: the answer begins with this
  // delta, so with `echo` the prompt's tokens stand before it. `offset` is where the next token's
  // text begins.
  json::value LogprobsOf(int index, const RelayDelta& delta, bool first, int& offset) const;
  json::object WholeChat(int index) const;
  json::object WholeCompletion(int index) const;

  const Generation& generation_;
  const bool chat_;
  const int64_t created_s_;
  const std::string id_;
  std::vector<Choice> choices_;
};

std::string OpenAiForm::Chunk(int index, const char* content_name, json::value content,
                              json::value logprobs, json::value finish_reason) const {
  json::object choice{{"index", index}};
  choice[content_name] = std::move(content);
  choice["logprobs"] = std::move(logprobs);
  choice["finish_reason"] = std::move(finish_reason);
  json::object chunk =
      Envelope(id_, chat_ ? "chat.completion.chunk" : "text_completion", created_s_, generation_);
  chunk["choices"] = json::array{std::move(choice)};
  const GenerationRequest& request = generation_.request();
  if (request.include_usage) {
    chunk["usage"] = request.continuous_usage ? json::value(UsageOf(generation_.usage())) : nullptr;
  }
  return EventText(json::serialize(chunk));
}

std::string OpenAiForm::Events(const std::vector<Generation::ChoiceDelta>& deltas) {
  std::string events;
  for (const auto& [index, delta] : deltas) {
    events += chat_ ? ChatEvents(index, delta) : CompletionEvents(index, delta);
  }
  return events;
}

std::string OpenAiForm::ChatEvents(int index, const RelayDelta& delta) {
  std::string events;
  if (!choices_[index].begun) {
    choices_[index].begun = true;
    events += Chunk(index, "delta", json::object{{"role", "assistant"}, {"content", ""}}, nullptr,
                    nullptr);
  }
  json::object text;
  AddReasoning(delta.text.reasoning, text);
  if (!delta.text.content.empty()) text["content"] = JsonText(delta.text.content);
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

std::string OpenAiForm::CompletionEvents(int index, const RelayDelta& delta) {
  std::string events;
  Choice& choice = choices_[index];
  const bool first = !std::exchange(choice.begun, true);
  const std::string echo = first ? generation_.echo(index) : "";
  if (!delta.text.content.empty() || !echo.empty() || !delta.logprobs.empty()) {
    events += Chunk(index, "text", JsonText(echo + delta.text.content),
                    LogprobsOf(index, delta, first, choice.text_offset), nullptr);
  }
  if (delta.finish_reason != v1::FINISH_REASON_UNSPECIFIED) {
    events += Chunk(index, "text", "", nullptr, FinishReason(delta.finish_reason, 0));
  }
  return events;
}

json::value OpenAiForm::LogprobsOf(int index, const RelayDelta& delta, bool first,
                                   int& offset) const {
  const GenerationRequest& request = generation_.request();
  if (!request.sampling.want_logprobs) return nullptr;
  const int top_count = static_cast<int>(request.sampling.top_logprobs);
  CompletionLogprobs logprobs(*generation_.model().vocabulary, offset);
  const auto& prompt = generation_.sent(index).prompt_tokens();
  // An answer that ended before its first token has none of them.
  const int known = static_cast<int>(delta.prompt_logprobs.size());
  for (int i = 0; first && request.echo && i < prompt.size(); ++i) {
    const bool given = i > 0 && i <= known;
    logprobs.Add(static_cast<int>(prompt[i]), given ? &delta.prompt_logprobs[i - 1] : nullptr,
                 top_count);
  }
  for (size_t i = 0; i < delta.logprobs.size(); ++i) {
    logprobs.Add(delta.tokens[i], &delta.logprobs[i], top_count);
  }
  offset = logprobs.offset();
  return logprobs.Take();
}

std::string OpenAiForm::LastEvents() {
  std::string events;
  if (generation_.request().include_usage) {
    json::object chunk =
        Envelope(id_, chat_ ? "chat.completion.chunk" : "text_completion", created_s_, generation_);
    chunk["choices"] = json::array();
    chunk["usage"] = UsageOf(generation_.usage());
    events += EventText(json::serialize(chunk));
  }
  return events + EventText("[DONE]");
}

void OpenAiForm::Collect(std::vector<Generation::ChoiceDelta> deltas) {
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
    if (!delta.prompt_logprobs.empty()) all.prompt_logprobs = std::move(delta.prompt_logprobs);
    all.finish_reason = delta.finish_reason;
  }
}

std::string OpenAiForm::Whole() {
  json::array choices;
  for (int i = 0; i < static_cast<int>(choices_.size()); ++i) {
    choices.push_back(chat_ ? WholeChat(i) : WholeCompletion(i));
  }
  json::object answer =
      Envelope(id_, chat_ ? "chat.completion" : "text_completion", created_s_, generation_);
  answer["choices"] = std::move(choices);
  answer["usage"] = UsageOf(generation_.usage());
  if (chat_ && generation_.request().show_prompt_logprobs) {
    answer["prompt_logprobs"] = PromptLogprobs(*generation_.model().vocabulary, generation_.sent(0),
                                               choices_[0].collected.prompt_logprobs);
  }
  return json::serialize(answer);
}

json::object OpenAiForm::WholeChat(int index) const {
  const RelayDelta& all = choices_[index].collected;
  json::object message{
      {"role", "assistant"}, {"content", JsonText(all.text.content)}, {"refusal", nullptr}};
  AddReasoning(all.text.reasoning, message);
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

json::object OpenAiForm::WholeCompletion(int index) const {
  const RelayDelta& all = choices_[index].collected;
  json::object choice{{"index", index},
                      {"text", JsonText(generation_.echo(index) + all.text.content)}};
  int offset = 0;
  choice["logprobs"] = LogprobsOf(index, all, /*first=*/true, offset);
  if (generation_.request().show_prompt_logprobs) {
    choice["prompt_logprobs"] = PromptLogprobs(*generation_.model().vocabulary,
                                               generation_.sent(index), all.prompt_logprobs);
  }
  choice["finish_reason"] = FinishReason(all.finish_reason, 0);
  return choice;
}

}  // namespace

std::unique_ptr<AnswerForm> MakeOpenAiForm(const Generation& generation, bool chat, int64_t now_s) {
  return std::make_unique<OpenAiForm>(generation, chat, now_s);
}

}  // namespace facet
