#include "ops/cli/progress.h"

#include <unistd.h>

#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "ops/cli/free_disk.h"

namespace facet {
namespace {

constexpr int kWidth = 30;
constexpr absl::Duration kRedrawInterval = absl::Milliseconds(100);
constexpr absl::Duration kLineInterval = absl::Seconds(10);

}  // namespace

Progress::Progress(std::string what, Unit unit)
    : what_(std::move(what)),
      unit_(unit),
      terminal_(isatty(STDERR_FILENO) == 1),
      begin_(absl::Now()),
      // A line says nothing before some time has passed, a bar does.
      drawn_(terminal_ ? absl::InfinitePast() : begin_) {}

Progress::~Progress() {
  if (line_open_) std::fputc('\n', stderr);
}

void Progress::Show(uint64_t done, uint64_t total) {
  if (done_before_ < 0) done_before_ = static_cast<int64_t>(done);
  const absl::Time now = absl::Now();
  const bool due = now - drawn_ >= (terminal_ ? kRedrawInterval : kLineInterval);
  if (total == 0 || !(due || (terminal_ && done == total))) return;
  drawn_ = now;
  const std::string state = DescribeProgress(unit_, done, total, done - done_before_,
                                             absl::ToDoubleSeconds(now - begin_));
  if (!terminal_) {
    std::fprintf(stderr, "%s: %s\n", what_.c_str(), state.c_str());
    return;
  }
  const auto filled = static_cast<int>(done * kWidth / total);
  std::fprintf(stderr, "\r%s [%.*s%.*s] %s \x1b[K", what_.c_str(), filled,
               "##############################", kWidth - filled, "..............................",
               state.c_str());
  line_open_ = true;
}

std::string DescribeProgress(Progress::Unit unit, uint64_t done, uint64_t total, uint64_t done_now,
                             double seconds) {
  std::string text =
      absl::StrFormat("%3.0f %%  ", 100.0 * static_cast<double>(done) / static_cast<double>(total));
  const double rate = seconds > 0 ? static_cast<double>(done_now) / seconds : 0;
  if (unit == Progress::Unit::kBytes) {
    absl::StrAppend(&text, FormatBytes(done), " of ", FormatBytes(total), ", ",
                    FormatBytes(static_cast<uint64_t>(rate)), "/s, ");
  }
  if (rate <= 0) return text + "time unknown";
  absl::StrAppendFormat(&text, "%.0f s left", static_cast<double>(total - done) / rate);
  return text;
}

}  // namespace facet
