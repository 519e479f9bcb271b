#ifndef FACET_BASE_FLAGS_H_
#define FACET_BASE_FLAGS_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace facet {

// Parses Abseil flags, to be called once at the start of main. A flag `--page_tokens` may also come
// from the environment as FACET_FLAG_PAGE_TOKENS, and from a `--flagfile`; the command line wins
// over the environment. `usage` is what `--help` prints above the flags, with examples.
//
// Returns argv[0] and the positional arguments. Wrong input (an unknown flag, an unknown
// FACET_FLAG_ name, a value that does not parse) prints one line to stderr and exits with code 1.
std::vector<char*> ParseFlags(int argc, char** argv, absl::string_view usage);

// The FACET_FLAG_ entries of `environment` (null-terminated, as `environ`) as `--name=value`.
// INVALID_ARGUMENT names an entry for which there is no flag. ParseFlags uses it.
absl::StatusOr<std::vector<std::string>> FlagsFromEnvironment(const char* const* environment);

// Name and value of every flag that differs from its default, for one log line at start. Values of
// flags whose name holds the word `key`, `keys`, `token` or `password` are shown as "***".
std::map<std::string, std::string> EffectiveFlags();

}  // namespace facet

#endif  // FACET_BASE_FLAGS_H_
