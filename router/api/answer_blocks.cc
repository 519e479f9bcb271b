#include "router/api/answer_blocks.h"

#include "absl/algorithm/container.h"

namespace facet {

std::vector<AnswerBlocks::Step> AnswerBlocks::Add(const RelayDelta& delta) {
  std::vector<Step> steps;
  AddText(Kind::kThinking, delta.text.reasoning, steps);
  AddText(Kind::kText, delta.text.content, steps);
  for (const OutputParser::ToolCallDelta& call : delta.text.tool_calls) {
    if (!call.name.empty()) Begin(Kind::kToolCall, call.name, steps);
    Append(call.arguments, steps);
  }
  if (delta.finish_reason != v1::FINISH_REASON_UNSPECIFIED) {
    finish_reason_ = delta.finish_reason;
    End(steps);
  }
  return steps;
}

bool AnswerBlocks::has_tool_call() const {
  return absl::c_any_of(blocks_, [](const Block& block) { return block.kind == Kind::kToolCall; });
}

void AnswerBlocks::AddText(Kind kind, const std::string& text, std::vector<Step>& steps) {
  if (text.empty()) return;
  if (!open_ || blocks_.back().kind != kind) Begin(kind, "", steps);
  Append(text, steps);
}

void AnswerBlocks::Begin(Kind kind, const std::string& name, std::vector<Step>& steps) {
  End(steps);
  open_ = true;
  blocks_.push_back({kind, name, ""});
  steps.push_back({Step::What::kBegin, static_cast<int>(blocks_.size()) - 1, ""});
}

void AnswerBlocks::Append(const std::string& text, std::vector<Step>& steps) {
  if (text.empty() || !open_) return;
  blocks_.back().text += text;
  steps.push_back({Step::What::kAppend, static_cast<int>(blocks_.size()) - 1, text});
}

void AnswerBlocks::End(std::vector<Step>& steps) {
  if (!open_) return;
  open_ = false;
  steps.push_back({Step::What::kEnd, static_cast<int>(blocks_.size()) - 1, ""});
}

}  // namespace facet
