#include "model/output_parser.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "model/tool_call_syntax.h"

namespace facet {

OutputParser::OutputParser(std::shared_ptr<const Vocabulary> vocabulary, const Options& options)
    : vocabulary_(std::move(vocabulary)),
      options_(options),
      detokenizer_(vocabulary_, /*skip_special=*/true),
      state_(options.starts_in_channel && options.parse_reasoning ? State::kReasoning
                                                                  : State::kContent) {}

OutputParser::Delta OutputParser::Add(absl::Span<const int> ids) {
  Delta delta;
  for (const int id : ids) AddId(id, delta);
  return delta;
}

OutputParser::Delta OutputParser::Finish() {
  Delta delta;
  if (state_ == State::kToolCall) EndToolCall(/*closed=*/false, delta);
  Enter(State::kContent, "", delta);
  return delta;
}

void OutputParser::AddId(int id, Delta& delta) {
  if (id < 0 || id >= vocabulary_->size()) return;
  const Vocabulary::Roles& roles = vocabulary_->roles();
  const bool first = std::exchange(at_start_, false);
  const bool in_call = state_ == State::kToolCall;
  if (!vocabulary_->IsSpecial(id)) {
    AddText(detokenizer_.Add(id), delta);
  } else if (id == roles.channel_begin && options_.parse_reasoning) {
    if (in_call) EndToolCall(/*closed=*/false, delta);
    Enter(State::kReasoning, "thought\n", delta);
  } else if (id == roles.channel_end && options_.parse_reasoning && !in_call) {
    if (state_ == State::kReasoning) Enter(State::kContent, "", delta);
  } else if (id == roles.tool_call_begin && options_.parse_tool_calls) {
    if (in_call) EndToolCall(/*closed=*/false, delta);
    Enter(State::kToolCall, "", delta);
  } else if (id == roles.tool_call_end && in_call) {
    EndToolCall(/*closed=*/true, delta);
  } else if (id == roles.string_quote && in_call) {
    AddText(detokenizer_.Finish(), delta);
    call_.push_back(kToolCallQuote);
  } else if (id == roles.turn_begin && first && state_ == State::kContent) {
    Enter(State::kContent, "model\n", delta);
  } else {
    AddMarker(id, delta);
  }
}

// A marker where it means nothing: those that a client may see are text.
void OutputParser::AddMarker(int id, Delta& delta) {
  const std::vector<int>& stops = vocabulary_->stop_ids();
  const bool is_stop = std::binary_search(stops.begin(), stops.end(), id);
  if (vocabulary_->type(id) != PieceType::kUserDefined || is_stop) return;
  AddText(detokenizer_.Finish(), delta);
  AddText(vocabulary_->text(id), delta);
}

void OutputParser::AddText(absl::string_view text, Delta& delta) {
  if (header_.empty()) {
    Emit(text, delta);
    return;
  }
  absl::StrAppend(&held_, text);
  if (held_.size() < header_.size() && absl::StartsWith(header_, held_)) return;
  absl::string_view rest = held_;
  if (absl::StartsWith(rest, header_)) rest.remove_prefix(header_.size());
  Emit(rest, delta);
  header_.clear();
  held_.clear();
}

void OutputParser::Emit(absl::string_view text, Delta& delta) {
  std::string* target = state_ == State::kContent     ? &delta.content
                        : state_ == State::kReasoning ? &delta.reasoning
                                                      : &call_;
  absl::StrAppend(target, text);
}

void OutputParser::Enter(State state, absl::string_view header, Delta& delta) {
  AddText(detokenizer_.Finish(), delta);
  // A header that lacks only its newline is one with nothing behind it.
  if (absl::StrCat(held_, "\n") != header_) Emit(held_, delta);
  held_.clear();
  header_ = std::string(header);
  state_ = state;
}

void OutputParser::EndToolCall(bool closed, Delta& delta) {
  Enter(State::kContent, "", delta);
  const std::string text = std::exchange(call_, "");
  std::optional<ToolCall> call = closed ? ParseToolCall(text) : std::nullopt;
  if (call) {
    delta.tool_calls.push_back(
        {tool_call_count_++, std::move(call->name), std::move(call->arguments)});
    return;
  }
  const Vocabulary::Roles& roles = vocabulary_->roles();
  const auto marker = [&](const std::optional<int>& id) {
    return id ? vocabulary_->text(*id) : absl::string_view();
  };
  const absl::string_view quote(&kToolCallQuote, 1);
  Emit(absl::StrCat(marker(roles.tool_call_begin),
                    absl::StrReplaceAll(text, {{quote, marker(roles.string_quote)}}),
                    closed ? marker(roles.tool_call_end) : ""),
       delta);
}

}  // namespace facet
