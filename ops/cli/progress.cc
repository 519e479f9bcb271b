#include "ops/cli/progress.h"

#include <unistd.h>

#include <cstdio>
#include <utility>

#include "absl/time/clock.h"

namespace facet {
namespace {

constexpr int kWidth = 30;
constexpr absl::Duration kRedrawInterval = absl::Milliseconds(100);

}  // namespace

Progress::Progress(std::string what)
    : what_(std::move(what)), terminal_(isatty(STDERR_FILENO) == 1), begin_(absl::Now()) {}

Progress::~Progress() {
  if (terminal_ && drawn_ != absl::InfinitePast()) std::fputc('\n', stderr);
}

void Progress::Show(uint64_t done, uint64_t total) {
  const absl::Time now = absl::Now();
  if (!terminal_ || total == 0 || (done < total && now - drawn_ < kRedrawInterval)) return;
  drawn_ = now;
  const double share = static_cast<double>(done) / static_cast<double>(total);
  const int filled = static_cast<int>(share * kWidth);
  const double left_s = share > 0 ? absl::ToDoubleSeconds(now - begin_) * (1 - share) / share : 0;
  std::fprintf(stderr, "\r%s [%.*s%.*s] %3.0f %%  %.0f s left ", what_.c_str(), filled,
               "##############################", kWidth - filled, "..............................",
               100 * share, left_s);
}

}  // namespace facet
