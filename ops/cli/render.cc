#include <boost/json.hpp>

#include "base/status_macros.h"
#include "model/chat_template.h"
#include "model/model_file.h"
#include "model/tokenizer.h"
#include "model/vocabulary.h"
#include "ops/cli/command.h"
#include "ops/cli/json_lines.h"
#include "worker/model_flags.h"

namespace facet {
namespace {

absl::Status Run(const std::vector<absl::string_view>&) {
  ASSIGN_OR_RETURN(const std::string path, ModelPath());
  ASSIGN_OR_RETURN(const Metadata metadata, ReadModelMetadata(path));
  ASSIGN_OR_RETURN(auto vocabulary, Vocabulary::FromMetadata(metadata));
  const Tokenizer tokenizer(vocabulary);
  return ForEachInputLine([&](const boost::json::object& line) -> absl::Status {
    ASSIGN_OR_RETURN(const std::string prompt, RenderChat(line));
    PrintLine({{"prompt", prompt}, {"ids", boost::json::value_from(tokenizer.Encode(prompt, {}))}});
    return absl::OkStatus();
  });
}

}  // namespace

const Command kRenderCommand = {
    "render", "a chat in, the prompt and its ids out",
    "facet render --model=PATH: JSON lines on stdin, each the body of an OpenAI chat completion\n"
    "(messages, tools), with the template's own arguments at the top level: enable_thinking,\n"
    "add_generation_prompt, preserve_thinking. Gives a line {\"prompt\":\"...\",\"ids\":[...]}.\n\n"
    "  echo '{\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}' | facet render "
    "--model=facet-nano.gguf",
    Run};

}  // namespace facet
