#ifndef FACET_ROUTER_TEXT_OUTPUT_TEXT_H_
#define FACET_ROUTER_TEXT_OUTPUT_TEXT_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model/detokenizer.h"
#include "model/output_parser.h"
#include "model/vocabulary.h"
#include "router/text/stop_strings.h"

namespace facet {

// The generated ids of one answer to what its reader sees: text, thinking and tool calls, cut at
// stop strings. Stop strings are looked for in content, not in thinking or calls. A function of the
// ids alone, so it can be replayed from them. For one thread at a time.
class OutputText {
 public:
  struct Options {
    bool parse_chat = false;  // False: all is content.
    OutputParser::Options parser;
    std::vector<std::string> stop;
  };

  OutputText(std::shared_ptr<const Vocabulary> vocabulary, const Options& options);

  // Adds what `id` completes to `delta`. After a stop string nothing more comes.
  void Add(int id, OutputParser::Delta& delta);
  // What was held back.
  void Finish(OutputParser::Delta& delta);

  bool stopped() const { return stop_.matched(); }
  // The stop string that ended it; empty if none did.
  const std::string& stop_string() const { return stop_.match(); }
  // Ids of thoughts, their markers included.
  int reasoning_tokens() const { return reasoning_tokens_; }
  int tool_call_count() const { return parser_.has_value() ? parser_->tool_call_count() : 0; }

 private:
  void Append(OutputParser::Delta part, OutputParser::Delta& delta);

  Detokenizer detokenizer_;
  std::optional<OutputParser> parser_;
  StopStrings stop_;
  int reasoning_tokens_ = 0;
};

}  // namespace facet

#endif  // FACET_ROUTER_TEXT_OUTPUT_TEXT_H_
