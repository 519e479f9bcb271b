#ifndef FACET_OPS_SIMULATION_FAULT_SCHEDULE_H_
#define FACET_OPS_SIMULATION_FAULT_SCHEDULE_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace facet {

// Something that happens to a worker.
struct Fault {
  enum class Kind {
    kDie,     // Its process ends; routers notice at once.
    kVanish,  // Its host is gone without a word; routers notice after `noticed_after_s`.
    kReturn,  // It is back, with nothing cached; routers reach it again after reconnecting.
    kSlow,    // Its steps take `factor` times as long from now on; 1: as usual.
  };
  double at_s = 0;
  int worker = 0;
  Kind kind = Kind::kDie;
  double factor = 1;
  double noticed_after_s = 4;  // What keepalive takes.
};

// A JSON object a line, in order of time:
//   {"at_s": 10, "worker": 3, "event": "die"}
//   {"at_s": 20, "worker": 3, "event": "return"}
//   {"at_s": 30, "worker": 0, "event": "slow", "factor": 10}
//   {"at_s": 40, "worker": 1, "event": "vanish", "noticed_after_s": 4}
// INVALID_ARGUMENT names `file`, line and field.
absl::StatusOr<std::vector<Fault>> ParseFaults(absl::string_view text, const std::string& file,
                                               int workers);

}  // namespace facet

#endif  // FACET_OPS_SIMULATION_FAULT_SCHEDULE_H_
