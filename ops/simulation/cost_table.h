#ifndef FACET_OPS_SIMULATION_COST_TABLE_H_
#define FACET_OPS_SIMULATION_COST_TABLE_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace facet {

// What a simulated worker can do, and what it takes: measured from a real one.
//
// A step of d decoding rows and p tokens of prompts takes
//   step_s + d * decode_row_s + p * prefill_token_s
//     + decode_key_s * (keys that the decoding rows see) + prefill_key_s * (those of the prompts'),
// where a row at position n sees n + 1 keys. This is what full attention and matrix products give;
// the window's keys are part of the cost of a row.
struct CostTable {
  double step_s = 0;
  double decode_row_s = 0, decode_key_s = 0;
  double prefill_token_s = 0, prefill_key_s = 0;
  double message_s = 0.0002;  // One way between a router and a worker.

  int running_requests_max = 64;
  int waiting_requests_max = 256;
  int step_tokens_max = 512;
  int context_tokens_max = 0;
  int sliding_window_tokens = 1024;
  int full_pages = 0, sliding_pages = 0;

  // Pulling from other workers; without a host tier nothing is pulled.
  int64_t full_page_bytes = 0, sliding_page_bytes = 0;
  int64_t host_tier_bytes = 0;
  double pull_bytes_per_s = 0;  // Of one puller.
  double pull_s = 0.002;        // Until the first byte comes.

  double StepSeconds(int decode_rows, int64_t decode_keys, int prefill_tokens,
                     int64_t prefill_keys) const {
    return step_s + decode_rows * decode_row_s + static_cast<double>(decode_keys) * decode_key_s +
           prefill_tokens * prefill_token_s + static_cast<double>(prefill_keys) * prefill_key_s;
  }
};

// A JSON object with these fields' names; those that are 0 above must be there, but for keys' costs
// and what pulling takes. INVALID_ARGUMENT names `file` and the field.
absl::StatusOr<CostTable> ParseCostTable(absl::string_view text, const std::string& file);
// The same form, one field a line.
std::string CostTableText(const CostTable& costs);

}  // namespace facet

#endif  // FACET_OPS_SIMULATION_COST_TABLE_H_
