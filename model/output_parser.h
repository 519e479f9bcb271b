#ifndef FACET_MODEL_OUTPUT_PARSER_H_
#define FACET_MODEL_OUTPUT_PARSER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "model/detokenizer.h"
#include "model/vocabulary.h"

namespace facet {

// Generated token ids to reasoning, content and tool calls, as they stream. Markers are ids, never
// text that looks like one. For one thread at a time.
//
// - <|channel> ... <channel|> is reasoning, less a leading "thought\n"; an empty channel gives
//   nothing, a lone <channel|> is dropped, and what is not closed is reasoning to the end or to the
//   next call.
// - <|tool_call>call:NAME{...}<tool_call|> is a call; its arguments become JSON (see
//   tool_call_syntax). It is given out when it is complete. One that does not parse, or is not
//   closed, is content, markers included: nothing is lost.
// - Stop ids and control pieces have no text. "<|turn>model\n" at the start is dropped.
//
// However the ids are split among calls of Add, the concatenated result is the same.
class OutputParser {
 public:
  struct Options {
    bool starts_in_channel = false;  // The prompt ended in "<|channel>thought\n".
    bool parse_reasoning = true;     // False: reasoning is content, its markers included.
    bool parse_tool_calls = true;    // False: calls are content, their markers included.
  };
  struct ToolCallDelta {
    int index = 0;          // 0 for the first call of the output.
    std::string name;       // Given once for each call.
    std::string arguments;  // The JSON text of an object, or a further piece of it.
  };
  struct Delta {
    std::string reasoning;
    std::string content;
    std::vector<ToolCallDelta> tool_calls;
    bool empty() const { return reasoning.empty() && content.empty() && tool_calls.empty(); }
  };

  // The vocabulary is shared with the tokenizer and every other stream.
  OutputParser(std::shared_ptr<const Vocabulary> vocabulary, const Options& options);

  Delta Add(absl::Span<const int> ids);
  Delta Add(int id) { return Add(absl::MakeConstSpan(&id, 1)); }
  // What was held back. No Add may follow.
  Delta Finish();
  // Whether what comes next is a thought.
  bool in_reasoning() const { return state_ == State::kReasoning; }
  int tool_call_count() const { return tool_call_count_; }

 private:
  enum class State : uint8_t { kContent, kReasoning, kToolCall };

  void AddId(int id, Delta& delta);
  void AddMarker(int id, Delta& delta);
  void AddText(absl::string_view text, Delta& delta);
  void Emit(absl::string_view text, Delta& delta);
  // Ends the present state and begins another, whose text loses `header` if it begins with it.
  void Enter(State state, absl::string_view header, Delta& delta);
  void EndToolCall(bool closed, Delta& delta);

  const std::shared_ptr<const Vocabulary> vocabulary_;
  const Options options_;
  Detokenizer detokenizer_;
  State state_;
  bool at_start_ = true;
  std::string header_;  // Empty once it is clear whether the text begins with it.
  std::string held_;    // The text so far, while it is a part of header_.
  std::string call_;    // The text of the open call, in the form that ParseToolCall takes.
  int tool_call_count_ = 0;
};

}  // namespace facet

#endif  // FACET_MODEL_OUTPUT_PARSER_H_
