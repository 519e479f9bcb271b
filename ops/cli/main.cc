// facet: the command. `facet help` lists what it can do.
#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "base/flags.h"
#include "base/log.h"
#include "base/signals.h"
#include "base/version.h"
#include "ops/cli/command.h"

namespace facet {
namespace {

const Command* const kCommands[] = {
    &kServeCommand,    &kChatCommand,        &kGenerateCommand,    &kScoreCommand,
    &kEmbedCommand,    &kTokenizeCommand,    &kRenderCommand,      &kInspectCommand,
    &kImportCommand,   &kBenchEngineCommand, &kBenchPrefixCommand, &kBenchCostsCommand,
    &kSimulateCommand,
};

std::string Overview() {
  std::string text =
      absl::StrCat("facet ", kVersion, ": serves Gemma 4.\n\nCommands (`facet COMMAND --help`):\n");
  for (const Command* command : kCommands) {
    absl::StrAppendFormat(&text, "  %-14s %s\n", command->name, command->summary);
  }
  absl::StrAppend(&text, "\nTry: facet serve facet-nano.gguf\n");
  return text;
}

// The command whose words `words` begins with, or null.
const Command* FindCommand(const std::vector<std::string>& words) {
  const std::string one = words.empty() ? "" : words[0];
  const std::string two = words.size() < 2 ? one : absl::StrCat(one, " ", words[1]);
  for (const Command* command : kCommands) {
    if (command->name == one || command->name == two) return command;
  }
  return nullptr;
}

int Main(int argc, char** argv) {
  std::vector<std::string> words;
  for (int i = 1; i < argc && argv[i][0] != '-'; ++i) words.push_back(argv[i]);
  const Command* command = FindCommand(words);
  if (command == nullptr) {
    const bool asked = words.empty() || words[0] == "help";
    std::fputs(Overview().c_str(), asked ? stdout : stderr);
    if (!asked) std::fprintf(stderr, "\nfacet: no command '%s'\n", words[0].c_str());
    return asked ? 0 : 1;
  }
  if (command->handles_signals) BlockTerminationSignals();
  const size_t name_words = 1 + std::count(command->name.begin(), command->name.end(), ' ');
  const std::vector<char*> rest = ParseFlags(argc, argv, command->usage);
  std::vector<absl::string_view> arguments(rest.begin() + 1 + name_words, rest.end());
  StartLog("facet");
  const absl::Status status = command->run(arguments);
  if (status.ok()) return 0;
  std::fprintf(stderr, "facet %s: %s\n", std::string(command->name).c_str(),
               std::string(status.message()).c_str());
  return 1;
}

}  // namespace
}  // namespace facet

int main(int argc, char** argv) { return facet::Main(argc, argv); }
