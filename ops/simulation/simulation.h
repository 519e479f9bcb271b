#ifndef FACET_OPS_SIMULATION_SIMULATION_H_
#define FACET_OPS_SIMULATION_SIMULATION_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "ops/simulation/cost_table.h"
#include "ops/simulation/fault_schedule.h"
#include "ops/simulation/simulated_router.h"
#include "ops/simulation/trace.h"

namespace facet {

struct SimulationOptions {
  CostTable costs;
  int workers = 1;
  // Clients are spread over them at random. Each but the first hears workers' news later, by up to
  // news_delay_s.
  int routers = 1;
  double news_delay_s = 0.01;
  Policy policy = Policy::kFacet;
  LineOptions line;
  std::vector<Fault> faults;
  // Workers begin with all contents that several requests share, beside memory of their own: what
  // the best placement could come to.
  bool warm = false;
  uint64_t seed = 1;
};

struct SimulationResult {
  std::vector<RequestRecord> records;  // As the trace.
  std::vector<float> pauses_s;         // Between two tokens of one answer.
  std::vector<double> worker_busy_s;
  double end_s = 0;    // When the last request had ended.
  int64_t events = 0;  // That were simulated.
};

// Plays a trace. Equal arguments give equal results. `progress`, which may be empty, hears how many
// requests have ended. INVALID_ARGUMENT if a request fits no worker.
absl::StatusOr<SimulationResult> Simulate(const Trace& trace, const SimulationOptions& options,
                                          const std::function<void(size_t ended)>& progress);

}  // namespace facet

#endif  // FACET_OPS_SIMULATION_SIMULATION_H_
