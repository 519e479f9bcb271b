#ifndef FACET_OPS_METRICS_PROCESS_METRICS_H_
#define FACET_OPS_METRICS_PROCESS_METRICS_H_

#include <prometheus/metric_family.h>

#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace facet {

// What Linux says of a process, under the names that Prometheus' own client libraries use. Any
// thread may call these.

// Of one line of /proc/PID/stat.
struct ProcessUse {
  double cpu_s = 0;
  double start_s = 0;  // After the system's own start.
  double virtual_bytes = 0;
  double resident_bytes = 0;
  double threads = 0;
};
// INVALID_ARGUMENT: no such line. The command's name in it may hold any character.
absl::StatusOr<ProcessUse> ParseProcessUse(absl::string_view stat, double ticks_per_s,
                                           double page_bytes);

// process_cpu_seconds_total, process_start_time_seconds, process_resident_memory_bytes,
// process_virtual_memory_bytes, process_threads, process_open_fds, process_max_fds of this process.
// What cannot be read is left out.
std::vector<prometheus::MetricFamily> ProcessMetrics();

}  // namespace facet

#endif  // FACET_OPS_METRICS_PROCESS_METRICS_H_
