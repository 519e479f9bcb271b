#ifndef FACET_OPS_CLI_COMMAND_H_
#define FACET_OPS_CLI_COMMAND_H_

#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace facet {

// One subcommand of `facet`. Results go to stdout, progress and errors to stderr. `arguments` are
// the words after the subcommand's name that are no flags.
struct Command {
  absl::string_view name;     // "generate", or two words: "bench engine"
  absl::string_view summary;  // one line
  absl::string_view usage;    // flags and examples, for `facet NAME --help`
  absl::Status (*run)(const std::vector<absl::string_view>& arguments);
  // Whether it takes SIGTERM and SIGINT as base/signals.h says; they end the others at once.
  bool handles_signals = false;
};

// Each is defined in the file of its name.
extern const Command kBenchCostsCommand;
extern const Command kBenchEngineCommand;
extern const Command kBenchPrefixCommand;
extern const Command kChatCommand;
extern const Command kEmbedCommand;
extern const Command kGenerateCommand;
extern const Command kImportCommand;
extern const Command kInspectCommand;
extern const Command kRenderCommand;
extern const Command kScoreCommand;
extern const Command kServeCommand;
extern const Command kSimulateCommand;
extern const Command kTokenizeCommand;

}  // namespace facet

#endif  // FACET_OPS_CLI_COMMAND_H_
