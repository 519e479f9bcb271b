#ifndef FACET_WORKER_DRAFTER_H_
#define FACET_WORKER_DRAFTER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "kernels/device.h"
#include "worker/batch.h"
#include "worker/device_group.h"
#include "worker/kv_cache.h"
#include "worker/weights.h"

namespace facet {

struct DrafterOptions {
  int rows_max = 64;                    // sequences that are drafted for at once
  int drafts_max = 4;                   // of one sequence
  std::vector<int32_t> suppressed_ids;  // never drafted
};

// Guesses the next tokens of sequences with a small model of a few layers (multi-token prediction:
// Gemma4UnifiedAssistantForCausalLM in transformers). It starts from the target's last state, reads
// the target's keys and values, and writes none. Its guesses are only proposals: what a request
// gets is decided by the target. Used by one thread, the engine's.
class Drafter {
 public:
  // One sequence. The newest token was chosen but not run: it stands at `position`, and the keys of
  // positions [0, position) are stored.
  struct Row {
    int32_t newest;
    int32_t position;
    const PageTables* pages;
    int32_t state_row;  // of `states`: the state at position - 1, from which `newest` was chosen
  };
  // What a test compares with the reference. Host.
  struct Trace {
    std::vector<std::vector<float>> logits;  // by draft, [rows, vocabulary]
    std::vector<std::vector<float>> states;  // by draft, [rows, target's hidden size]
  };

  // `target`, `cache`, `device` and `group` must outlive it, as must `weights`.
  static absl::StatusOr<std::unique_ptr<Drafter>> Make(const AssistantWeights* weights,
                                                       const Weights* target, KvCache* cache,
                                                       Device* device, DeviceGroup* group,
                                                       const DrafterOptions& options);
  virtual ~Drafter() = default;

  // `count` drafts for each row: [rows, count]. `states`: device, ModelRunner::output_states.
  // REQUIRES: 1 to rows_max rows, 1 to drafts_max drafts.
  virtual std::vector<int32_t> DraftBlocking(absl::Span<const Row> rows, const float* states,
                                             int count, Trace* trace = nullptr) = 0;

  virtual const DrafterOptions& options() const = 0;
};

}  // namespace facet

#endif  // FACET_WORKER_DRAFTER_H_
