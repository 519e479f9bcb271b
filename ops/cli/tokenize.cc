#include <boost/json.hpp>

#include "absl/flags/flag.h"
#include "base/status_macros.h"
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
    ASSIGN_OR_RETURN(const absl::string_view text, StringField(line, "text"));
    Tokenizer::Options options;
    ASSIGN_OR_RETURN(options.add_special, BoolField(line, "add_special", options.add_special));
    ASSIGN_OR_RETURN(options.parse_special,
                     BoolField(line, "parse_special", options.parse_special));
    PrintLine({{"ids", boost::json::value_from(tokenizer.Encode(text, options))}});
    return absl::OkStatus();
  });
}

}  // namespace

const Command kTokenizeCommand = {
    "tokenize", "text in, token ids out",
    "facet tokenize --model=PATH: JSON lines on stdin, each\n"
    "  {\"text\":\"...\",\"add_special\":false,\"parse_special\":true}\n"
    "gives a line {\"ids\":[...]}. PATH is a GGUF file, or a folder with a tokenizer.json.\n\n"
    "  echo '{\"text\":\"Hello\"}' | facet tokenize --model=facet-nano.gguf",
    Run};

}  // namespace facet
