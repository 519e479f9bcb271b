#include "router/text/output_text.h"

#include <utility>

namespace facet {

OutputText::OutputText(std::shared_ptr<const Vocabulary> vocabulary, const Options& options)
    : detokenizer_(vocabulary, /*skip_special=*/true), stop_(options.stop) {
  if (options.parse_chat) parser_.emplace(std::move(vocabulary), options.parser);
}

void OutputText::Add(int id, OutputParser::Delta& delta) {
  if (stopped()) return;
  OutputParser::Delta part;
  if (parser_.has_value()) {
    const bool was_reasoning = parser_->in_reasoning();
    part = parser_->Add(id);
    reasoning_tokens_ += was_reasoning || parser_->in_reasoning() ? 1 : 0;
  } else {
    part.content = detokenizer_.Add(id);
  }
  Append(std::move(part), delta);
}

void OutputText::Finish(OutputParser::Delta& delta) {
  if (stopped()) return;
  OutputParser::Delta part;
  if (parser_.has_value()) {
    part = parser_->Finish();
  } else {
    part.content = detokenizer_.Finish();
  }
  Append(std::move(part), delta);
  if (!stopped()) delta.content += stop_.Finish();
}

void OutputText::Append(OutputParser::Delta part, OutputParser::Delta& delta) {
  delta.reasoning += part.reasoning;
  if (!part.content.empty()) delta.content += stop_.Add(part.content);
  if (stopped()) return;  // Calls come after the content of the same delta.
  for (OutputParser::ToolCallDelta& call : part.tool_calls) {
    delta.tool_calls.push_back(std::move(call));
  }
}

}  // namespace facet
