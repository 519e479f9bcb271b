#include "ops/metrics/process_metrics.h"

#include <sys/resource.h>
#include <unistd.h>

#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"

namespace facet {
namespace {

// Of /proc/PID/stat, counted from the field behind the command's name, which is its third.
constexpr int kUserTicks = 11, kSystemTicks = 12, kThreads = 17, kStartTicks = 19;
constexpr int kVirtualBytes = 20, kResidentPages = 21;

void Add(const char* name, const char* help, prometheus::MetricType type, double value,
         std::vector<prometheus::MetricFamily>& families) {
  prometheus::ClientMetric metric;
  (type == prometheus::MetricType::Counter ? metric.counter.value : metric.gauge.value) = value;
  families.push_back({name, help, type, {metric}});
}

// When the system started, in seconds since 1970.
double BootTimeS() {
  timespec now = {}, running = {};
  clock_gettime(CLOCK_REALTIME, &now);
  clock_gettime(CLOCK_BOOTTIME, &running);
  return static_cast<double>(now.tv_sec - running.tv_sec) + 1e-9 * (now.tv_nsec - running.tv_nsec);
}

}  // namespace

absl::StatusOr<ProcessUse> ParseProcessUse(absl::string_view stat, double ticks_per_s,
                                           double page_bytes) {
  absl::Status bad = absl::InvalidArgumentError("not a line of /proc/PID/stat");
  const size_t name_end = stat.rfind(") ");
  if (name_end == absl::string_view::npos) return bad;
  const std::vector<absl::string_view> fields =
      absl::StrSplit(stat.substr(name_end + 2), absl::ByAnyChar(" \n"), absl::SkipEmpty());
  if (fields.size() <= kResidentPages) return bad;
  double user = 0, system = 0, start = 0, pages = 0;
  ProcessUse use;
  if (!absl::SimpleAtod(fields[kUserTicks], &user) ||
      !absl::SimpleAtod(fields[kSystemTicks], &system) ||
      !absl::SimpleAtod(fields[kThreads], &use.threads) ||
      !absl::SimpleAtod(fields[kStartTicks], &start) ||
      !absl::SimpleAtod(fields[kVirtualBytes], &use.virtual_bytes) ||
      !absl::SimpleAtod(fields[kResidentPages], &pages)) {
    return bad;
  }
  use.cpu_s = (user + system) / ticks_per_s;
  use.start_s = start / ticks_per_s;
  use.resident_bytes = pages * page_bytes;
  return use;
}

std::vector<prometheus::MetricFamily> ProcessMetrics() {
  using prometheus::MetricType;
  std::vector<prometheus::MetricFamily> families;
  std::ifstream file("/proc/self/stat");
  const std::string stat{std::istreambuf_iterator<char>(file), {}};
  const auto use = ParseProcessUse(stat, static_cast<double>(sysconf(_SC_CLK_TCK)),
                                   static_cast<double>(sysconf(_SC_PAGESIZE)));
  if (use.ok()) {
    Add("process_cpu_seconds_total", "Processor time, of user and system.", MetricType::Counter,
        use->cpu_s, families);
    Add("process_start_time_seconds", "Since 1970.", MetricType::Gauge, BootTimeS() + use->start_s,
        families);
    Add("process_resident_memory_bytes", "Memory in use, mapped files included.", MetricType::Gauge,
        use->resident_bytes, families);
    Add("process_virtual_memory_bytes", "Addresses in use.", MetricType::Gauge, use->virtual_bytes,
        families);
    Add("process_threads", "Threads.", MetricType::Gauge, use->threads, families);
  }
  std::error_code error;
  const std::filesystem::directory_iterator open("/proc/self/fd", error);
  if (!error) {
    // The folder itself is open while it is read.
    Add("process_open_fds", "Open files and connections.", MetricType::Gauge,
        static_cast<double>(std::distance(begin(open), end(open)) - 1), families);
  }
  rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    Add("process_max_fds", "The most files and connections.", MetricType::Gauge,
        static_cast<double>(limit.rlim_cur), families);
  }
  return families;
}

}  // namespace facet
