#include "ops/simulation/fault_schedule.h"

#include "absl/container/flat_hash_map.h"
#include "base/status_macros.h"
#include "ops/simulation/input_object.h"

namespace facet {

absl::StatusOr<std::vector<Fault>> ParseFaults(absl::string_view text, const std::string& file,
                                               int workers) {
  const absl::flat_hash_map<std::string, Fault::Kind> kinds = {{"die", Fault::Kind::kDie},
                                                               {"vanish", Fault::Kind::kVanish},
                                                               {"return", Fault::Kind::kReturn},
                                                               {"slow", Fault::Kind::kSlow}};
  std::vector<Fault> faults;
  RETURN_IF_ERROR(ForEachInputObject(text, file, [&](const InputObject& object) -> absl::Status {
    RETURN_IF_ERROR(object.CheckNames({"at_s", "worker", "event", "factor", "noticed_after_s"}));
    Fault fault;
    ASSIGN_OR_RETURN(fault.at_s, object.Number("at_s", 0, 1e9));
    if (!faults.empty() && fault.at_s < faults.back().at_s) {
      return object.Wrong("at_s", "is before that of the event above it");
    }
    ASSIGN_OR_RETURN(fault.worker, object.Integer("worker", 0, workers - 1));
    ASSIGN_OR_RETURN(const std::string event, object.String("event"));
    const auto kind = kinds.find(event);
    if (kind == kinds.end()) {
      return object.Wrong("event", "must be die, vanish, return or slow");
    }
    fault.kind = kind->second;
    if (fault.kind == Fault::Kind::kSlow) {
      ASSIGN_OR_RETURN(fault.factor, object.Number("factor", 0.01, 1e4));
    } else {
      ASSIGN_OR_RETURN(const double factor, object.Number("factor", -1, 1e4, -1));
      if (factor != -1) return object.Wrong("factor", "is for events of kind slow alone");
    }
    ASSIGN_OR_RETURN(fault.noticed_after_s,
                     object.Number("noticed_after_s", 0, 1e4, fault.noticed_after_s));
    faults.push_back(fault);
    return absl::OkStatus();
  }));
  return faults;
}

}  // namespace facet
