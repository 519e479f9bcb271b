#ifndef FACET_MODEL_OUTPUT_PARSER_H_
#define FACET_MODEL_OUTPUT_PARSER_H_

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
//   nothing, a lone <channel|> is dropped, an unclosed channel is reasoning to the end.
// - <|tool_call>call:NAME{...}<tool_call|> is a call; its arguments become JSON. It is given out
//   when it is complete. A call that does not parse, or that the output ends within, is content,
//   markers included: nothing is lost.
// - Stop ids and other control pieces have no text. A leading "<|turn>model\n" is dropped.
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
    std::string name;       // Empty after the first delta of a call.
    std::string arguments;  // A piece of the JSON text of an object.
  };
  struct Delta {
    std::string reasoning;
    std::string content;
    std::vector<ToolCallDelta> tool_calls;
    bool empty() const { return reasoning.empty() && content.empty() && tool_calls.empty(); }
  };

  OutputParser(std::shared_ptr<const Vocabulary> vocabulary, const Options& options);

  Delta Add(absl::Span<const int> ids);
  Delta Add(int id) { return Add(absl::MakeConstSpan(&id, 1)); }
  // What was held back. No Add may follow.
  Delta Finish();
  int tool_call_count() const { return tool_call_count_; }

 private:
  enum class State { kContent, kReasoning, kToolCall };

  void AddId(int id, Delta& delta);
  void AddText(absl::string_view text, Delta& delta);
  void Flush(Delta& delta);
  void Enter(State state, absl::string_view dropped_prefix, Delta& delta);
  void EndToolCall(bool closed, Delta& delta);

  const std::shared_ptr<const Vocabulary> vocabulary_;  // Shared with the stream's detokenizer.
  const Options options_;
  Detokenizer detokenizer_;
  State state_ = State::kContent;
  // What the text of this state may begin with and then is dropped, and how much of it was seen.
  std::string dropped_prefix_;
  size_t dropped_size_ = 0;
  std::string call_;  // The text of the open call, each <|"|> written as tool_call_syntax does.
  bool at_start_ = true;
  int tool_call_count_ = 0;
};

}  // namespace facet

#endif  // FACET_MODEL_OUTPUT_PARSER_H_
