#include "base/flags.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "absl/flags/commandlineflag.h"
#include "absl/flags/parse.h"
#include "absl/flags/reflection.h"
#include "absl/flags/usage.h"
#include "absl/flags/usage_config.h"
#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace facet {
namespace {

constexpr absl::string_view kEnvironmentPrefix = "FACET_FLAG_";

// A token is a secret, but a count of tokens (`--step_tokens_max`) is not.
bool IsSecret(absl::string_view name) {
  for (absl::string_view word : absl::StrSplit(name, '_')) {
    if (word == "key" || word == "keys" || word == "token" || word == "password") return true;
  }
  return false;
}

}  // namespace

std::vector<char*> ParseFlags(int argc, char** argv, absl::string_view usage) {
  absl::SetProgramUsageMessage(usage);
  absl::FlagsUsageConfig config;
  config.contains_help_flags = [](absl::string_view file) {
    return !absl::StrContains(file, "absl/");
  };
  absl::SetFlagsUsageConfig(config);

  const absl::StatusOr<std::vector<std::string>> from_environment = FlagsFromEnvironment(environ);
  if (!from_environment.ok()) {
    std::fprintf(stderr, "ERROR: %s\n", std::string(from_environment.status().message()).c_str());
    std::exit(1);
  }
  // The environment's flags go before the command line's, since the last of two wins.
  std::vector<char*> arguments(argv, argv + 1);
  for (const std::string& flag : *from_environment) {
    arguments.push_back(const_cast<char*>(flag.c_str()));
  }
  arguments.insert(arguments.end(), argv + 1, argv + argc);
  return absl::ParseCommandLine(static_cast<int>(arguments.size()), arguments.data());
}

absl::StatusOr<std::vector<std::string>> FlagsFromEnvironment(const char* const* environment) {
  std::vector<std::string> flags;
  for (; *environment != nullptr; ++environment) {
    absl::string_view entry = *environment;
    if (!absl::ConsumePrefix(&entry, kEnvironmentPrefix)) continue;
    const size_t equals = entry.find('=');
    const std::string name = absl::AsciiStrToLower(entry.substr(0, equals));
    if (absl::FindCommandLineFlag(name) == nullptr) {
      return absl::InvalidArgumentError(absl::StrCat("the environment variable ",
                                                     kEnvironmentPrefix, entry.substr(0, equals),
                                                     " names no flag of this program; see --help"));
    }
    flags.push_back(absl::StrCat(
        "--", name, "=", equals == entry.npos ? absl::string_view() : entry.substr(equals + 1)));
  }
  return flags;
}

std::map<std::string, std::string> EffectiveFlags() {
  std::map<std::string, std::string> values;
  for (const auto& [name, flag] : absl::GetAllFlags()) {
    if (flag->IsRetired() || flag->CurrentValue() == flag->DefaultValue()) continue;
    values[std::string(name)] = IsSecret(name) ? "***" : flag->CurrentValue();
  }
  return values;
}

}  // namespace facet
