#ifndef FACET_OPS_SIMULATION_TRACE_H_
#define FACET_OPS_SIMULATION_TRACE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace facet {

// The first tokens of some content, without its text: equal contents have equal tokens, so prompts
// that begin with equal segments share a prefix.
struct PromptSegment {
  uint64_t content;
  int tokens;
};

struct TraceRequest {
  double arrival_s = 0;
  std::string tenant = "default";
  std::vector<PromptSegment> prompt;
  int answer_tokens = 0;
  double deadline_s = 0;  // From its arrival; 0: none.

  int prompt_tokens() const {
    int tokens = 0;
    for (const PromptSegment& segment : prompt) tokens += segment.tokens;
    return tokens;
  }
};

// In order of arrival.
using Trace = std::vector<TraceRequest>;

// A segment's content from its name.
uint64_t ContentOf(absl::string_view name);

// The ids of a prompt, each below kTokenIds: few, so that a simulated worker's draws are cheap, yet
// two pages of other contents differ.
constexpr int kTokenIds = 16;
void AppendTokens(const TraceRequest& request, std::vector<uint32_t>& ids);

// Our own format, a JSON object a line, in order of arrival:
//   {"arrival_s": 0.5, "tenant": "a", "prompt": [["system", 6000], ["question 1", 1200]],
//    "answer_tokens": 100, "deadline_s": 20}
// `tenant` and `deadline_s` may be absent. INVALID_ARGUMENT names `file`, line and field.
absl::StatusOr<Trace> ParseTrace(absl::string_view text, const std::string& file);

// Mooncake's format (github.com/kvcache-ai/Mooncake): timestamp in ms, input_length,
// output_length, and hash_ids, one for each block of 512 tokens and its whole prefix. Further
// fields are passed over, since published traces have some.
absl::StatusOr<Trace> ParseMooncakeTrace(absl::string_view text, const std::string& file);

// Many users of few long prefixes: each request asks something new about one of `groups` prefixes.
struct SharedPrefixOptions {
  int groups = 150;
  int prefix_tokens = 6000;
  int users = 5;  // Of each group; all groups and users are asked for in turn, in random order.
  int question_tokens = 1200;
  int answer_tokens = 1000;
  int requests = 3000;
  double requests_per_s = 10;   // As a Poisson process.
  bool same_questions = false;  // A user asks one and the same each time.
  double deadline_s = 0;
  uint64_t seed = 1;
};
Trace MakeSharedPrefixTrace(const SharedPrefixOptions& options);

}  // namespace facet

#endif  // FACET_OPS_SIMULATION_TRACE_H_
