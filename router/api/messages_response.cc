#include "router/api/messages_response.h"

#include <boost/json.hpp>
#include <string>
#include <utility>

#include "model/json.h"
#include "router/api/answer_blocks.h"
#include "router/api/answer_parts.h"
#include "router/api/api_error.h"
#include "router/api/json_fields.h"

namespace facet {
namespace {

namespace json = boost::json;
using Kind = AnswerBlocks::Kind;
using What = AnswerBlocks::Step::What;

// The names that a kind of block has in events.
struct BlockNames {
  const char* type;
  const char* text;        // Where a block's text stands.
  const char* delta_type;  // Of a delta of it.
  const char* delta_text;
};
BlockNames NamesOf(Kind kind) {
  switch (kind) {
    case Kind::kThinking:
      return {"thinking", "thinking", "thinking_delta", "thinking"};
    case Kind::kText:
      return {"text", "text", "text_delta", "text"};
    case Kind::kToolCall:
      return {"tool_use", "input", "input_json_delta", "partial_json"};
  }
  return {};
}

// Prompt tokens that came from a cache are counted apart, as Anthropic does.
json::object UsageOf(const Usage& usage) {
  return {{"input_tokens", usage.prompt_tokens - usage.cached_prompt_tokens},
          {"cache_creation_input_tokens", 0},
          {"cache_read_input_tokens", usage.cached_prompt_tokens},
          {"output_tokens", usage.completion_tokens}};
}

class MessagesForm final : public AnswerForm {
 public:
  explicit MessagesForm(const Generation& generation)
      : generation_(generation), id_(NewAnswerId("msg_")) {}

  std::string Events(const std::vector<Generation::ChoiceDelta>& deltas) override {
    std::string events;
    for (const auto& [choice, delta] : deltas) {
      if (!std::exchange(begun_, true)) {
        events += NamedEvent("message_start", {{"message", Message(json::array(), nullptr)}});
      }
      for (const AnswerBlocks::Step& step : blocks_.Add(delta)) events += EventOf(step);
    }
    return events;
  }

  std::string LastEvents() override {
    const json::object delta{{"stop_reason", StopReason()}, {"stop_sequence", StopSequence()}};
    return NamedEvent("message_delta",
                      {{"delta", delta}, {"usage", UsageOf(generation_.usage())}}) +
           NamedEvent("message_stop", {});
  }

  std::string ErrorEvents(const absl::Status& error) override {
    return "event: error\ndata: " + MessagesErrorBody(error) + "\n\n";
  }

  void Collect(std::vector<Generation::ChoiceDelta> deltas) override {
    for (const auto& [choice, delta] : deltas) blocks_.Add(delta);
  }

  std::string Whole() override {
    json::array content;
    for (size_t i = 0; i < blocks_.blocks().size(); ++i) {
      const AnswerBlocks::Block& block = blocks_.blocks()[i];
      json::object written = Begun(static_cast<int>(i));
      if (block.kind == Kind::kToolCall) {
        const auto input = ParseJson(block.text, "arguments");
        if (input.ok() && input->is_object()) written["input"] = *input;
      } else {
        written[NamesOf(block.kind).text] = JsonText(block.text);
      }
      content.push_back(std::move(written));
    }
    return json::serialize(Message(std::move(content), StopReason()));
  }

 private:
  json::object Message(json::array content, json::value stop_reason) const {
    return {{"id", JsonText(id_)},
            {"type", "message"},
            {"role", "assistant"},
            {"model", JsonText(generation_.model_name())},
            {"content", std::move(content)},
            {"stop_reason", std::move(stop_reason)},
            {"stop_sequence", StopSequence()},
            {"usage", UsageOf(generation_.usage())}};
  }

  // A block as it is when it begins: with nothing in it.
  json::object Begun(int index) const {
    const AnswerBlocks::Block& block = blocks_.blocks()[index];
    json::object result{{"type", NamesOf(block.kind).type}};
    if (block.kind == Kind::kToolCall) {
      result["id"] = JsonText(ToolCallId(id_, 0, index));
      result["name"] = JsonText(block.name);
      result["input"] = json::object();
    } else {
      result[NamesOf(block.kind).text] = "";
    }
    // Anthropic signs thoughts; nobody checks ours.
    if (block.kind == Kind::kThinking) result["signature"] = "";
    return result;
  }

  std::string EventOf(const AnswerBlocks::Step& step) const {
    switch (step.what) {
      case What::kBegin:
        return NamedEvent("content_block_start",
                          {{"index", step.block}, {"content_block", Begun(step.block)}});
      case What::kAppend: {
        const BlockNames names = NamesOf(blocks_.blocks()[step.block].kind);
        json::object delta{{"type", names.delta_type}};
        delta[names.delta_text] = JsonText(step.text);
        return NamedEvent("content_block_delta",
                          {{"index", step.block}, {"delta", std::move(delta)}});
      }
      case What::kEnd:
        return NamedEvent("content_block_stop", {{"index", step.block}});
    }
    return "";
  }

  json::value StopReason() const {
    if (!generation_.stop_string(0).empty()) return "stop_sequence";
    if (blocks_.finish_reason() != v1::FINISH_REASON_STOP) return "max_tokens";
    return blocks_.has_tool_call() ? "tool_use" : "end_turn";
  }

  json::value StopSequence() const {
    const std::string& stop = generation_.stop_string(0);
    return stop.empty() ? json::value(nullptr) : json::value(JsonText(stop));
  }

  const Generation& generation_;
  const std::string id_;
  AnswerBlocks blocks_;
  bool begun_ = false;
};

}  // namespace

std::unique_ptr<AnswerForm> MakeMessagesForm(const Generation& generation) {
  return std::make_unique<MessagesForm>(generation);
}

}  // namespace facet
