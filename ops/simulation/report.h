#ifndef FACET_OPS_SIMULATION_REPORT_H_
#define FACET_OPS_SIMULATION_REPORT_H_

#include <cstddef>
#include <string>

#include "ops/simulation/simulation.h"
#include "ops/simulation/trace.h"

namespace facet {

// What came of a trace from its request `first` on, as one JSON object, or as a table for people:
// those before it filled the caches. Equal results give equal bytes. Pauses between tokens and how
// busy workers were are of all requests. REQUIRES: first < trace.size(), or both are 0.
std::string ReportJson(const Trace& trace, const SimulationResult& result, size_t first = 0);
std::string ReportTable(const Trace& trace, const SimulationResult& result, size_t first = 0);

}  // namespace facet

#endif  // FACET_OPS_SIMULATION_REPORT_H_
