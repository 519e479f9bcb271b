#ifndef FACET_MODEL_MEDIA_CPU_DEADLINE_H_
#define FACET_MODEL_MEDIA_CPU_DEADLINE_H_

#include <time.h>

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace facet {

// A bound on the processor time that the calling thread spends from construction on. Time in which
// the thread waits for a processor does not count, so a busy machine refuses nothing that an idle
// one takes. Belongs to one thread.
class CpuDeadline {
 public:
  explicit CpuDeadline(int64_t cpu_ms_max)
      : cpu_ms_max_(cpu_ms_max), end_ns_(NowNs() + cpu_ms_max * 1'000'000) {}

  bool Passed() const { return NowNs() > end_ns_; }

  // OK, or INVALID_ARGUMENT that says what took too long.
  absl::Status Check(absl::string_view what) const {
    if (!Passed()) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat(what, ": decoding takes more than ", cpu_ms_max_, " ms of processor time"));
  }

 private:
  static int64_t NowNs() {
    timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
  }

  const int64_t cpu_ms_max_;
  const int64_t end_ns_;
};

}  // namespace facet

#endif  // FACET_MODEL_MEDIA_CPU_DEADLINE_H_
