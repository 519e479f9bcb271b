#include "ops/simulation/cost_table.h"

#include <algorithm>

#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "ops/simulation/input_object.h"

namespace facet {
namespace {

constexpr double kSecondsMax = 1000;
constexpr int64_t kCountMax = 1 << 24;
// So much is reserved, though never touched, in each simulated worker.
constexpr int64_t kHostTierBytesMax = int64_t{1} << 36;
constexpr int kPageTokens = 64;

}  // namespace

absl::StatusOr<CostTable> ParseCostTable(absl::string_view text, const std::string& file) {
  ASSIGN_OR_RETURN(const InputObject fields, InputObject::Parse(text, file));
  RETURN_IF_ERROR(fields.CheckNames(
      {"step_s", "decode_row_s", "decode_key_s", "prefill_token_s", "prefill_key_s", "message_s",
       "running_requests_max", "waiting_requests_max", "step_tokens_max", "context_tokens_max",
       "sliding_window_tokens", "full_pages", "sliding_pages", "full_page_bytes",
       "sliding_page_bytes", "host_tier_bytes", "pull_bytes_per_s", "pull_s"}));
  CostTable costs;
  ASSIGN_OR_RETURN(costs.step_s, fields.Number("step_s", 1e-6, kSecondsMax));
  ASSIGN_OR_RETURN(costs.decode_row_s, fields.Number("decode_row_s", 0, kSecondsMax));
  ASSIGN_OR_RETURN(costs.decode_key_s, fields.Number("decode_key_s", 0, 1, 0));
  ASSIGN_OR_RETURN(costs.prefill_token_s, fields.Number("prefill_token_s", 1e-9, kSecondsMax));
  ASSIGN_OR_RETURN(costs.prefill_key_s, fields.Number("prefill_key_s", 0, 1, 0));
  ASSIGN_OR_RETURN(costs.message_s, fields.Number("message_s", 0, 1, costs.message_s));
  const auto count = [&](absl::string_view name, int64_t least, int* target,
                         bool required) -> absl::Status {
    ASSIGN_OR_RETURN(const int64_t value, required
                                              ? fields.Integer(name, least, kCountMax)
                                              : fields.Integer(name, least, kCountMax, *target));
    *target = static_cast<int>(value);
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(count("running_requests_max", 1, &costs.running_requests_max, false));
  RETURN_IF_ERROR(count("waiting_requests_max", 1, &costs.waiting_requests_max, false));
  RETURN_IF_ERROR(count("step_tokens_max", 1, &costs.step_tokens_max, false));
  RETURN_IF_ERROR(count("context_tokens_max", 2, &costs.context_tokens_max, true));
  RETURN_IF_ERROR(count("sliding_window_tokens", 1, &costs.sliding_window_tokens, false));
  RETURN_IF_ERROR(count("full_pages", 1, &costs.full_pages, true));
  RETURN_IF_ERROR(count("sliding_pages", 1, &costs.sliding_pages, true));
  ASSIGN_OR_RETURN(costs.full_page_bytes, fields.Integer("full_page_bytes", 0, 1 << 30, 0));
  ASSIGN_OR_RETURN(costs.sliding_page_bytes, fields.Integer("sliding_page_bytes", 0, 1 << 30, 0));
  ASSIGN_OR_RETURN(costs.host_tier_bytes,
                   fields.Integer("host_tier_bytes", 0, kHostTierBytesMax, 0));
  ASSIGN_OR_RETURN(costs.pull_bytes_per_s, fields.Number("pull_bytes_per_s", 0, 1e13, 0));
  ASSIGN_OR_RETURN(costs.pull_s, fields.Number("pull_s", 0, kSecondsMax, costs.pull_s));
  if (costs.step_tokens_max < costs.running_requests_max) {
    return fields.Wrong("step_tokens_max", "must be at least running_requests_max");
  }
  // A sequence holds the pages of its window, of a step's rows, and one at each end.
  const int sliding_least = (costs.sliding_window_tokens + costs.step_tokens_max) / kPageTokens + 3;
  const int sliding_most = (costs.context_tokens_max + kPageTokens - 1) / kPageTokens;
  if (costs.sliding_pages < std::min(sliding_least, sliding_most)) {
    return fields.Wrong("sliding_pages",
                        absl::StrFormat("must be at least %d, which one request needs",
                                        std::min(sliding_least, sliding_most)));
  }
  if (int64_t{costs.full_pages} * kPageTokens < costs.context_tokens_max) {
    return fields.Wrong("full_pages", "of 64 tokens each must hold context_tokens_max");
  }
  if (costs.host_tier_bytes > 0 && (costs.full_page_bytes == 0 || costs.sliding_page_bytes == 0 ||
                                    costs.pull_bytes_per_s == 0)) {
    return fields.Wrong(
        "host_tier_bytes",
        "also needs full_page_bytes, sliding_page_bytes and pull_bytes_per_s, all above 0");
  }
  return costs;
}

std::string CostTableText(const CostTable& costs) {
  std::string text = "{";
  const auto number = [&](absl::string_view name, double value) {
    absl::StrAppendFormat(&text, "%s\n  \"%s\": %.6g", text.size() == 1 ? "" : ",", name, value);
  };
  const auto count = [&](absl::string_view name, int64_t value) {
    absl::StrAppendFormat(&text, ",\n  \"%s\": %d", name, value);
  };
  number("step_s", costs.step_s);
  number("decode_row_s", costs.decode_row_s);
  number("decode_key_s", costs.decode_key_s);
  number("prefill_token_s", costs.prefill_token_s);
  number("prefill_key_s", costs.prefill_key_s);
  number("message_s", costs.message_s);
  count("running_requests_max", costs.running_requests_max);
  count("waiting_requests_max", costs.waiting_requests_max);
  count("step_tokens_max", costs.step_tokens_max);
  count("context_tokens_max", costs.context_tokens_max);
  count("sliding_window_tokens", costs.sliding_window_tokens);
  count("full_pages", costs.full_pages);
  count("sliding_pages", costs.sliding_pages);
  count("full_page_bytes", costs.full_page_bytes);
  count("sliding_page_bytes", costs.sliding_page_bytes);
  count("host_tier_bytes", costs.host_tier_bytes);
  number("pull_bytes_per_s", costs.pull_bytes_per_s);
  number("pull_s", costs.pull_s);
  return text + "\n}\n";
}

}  // namespace facet
