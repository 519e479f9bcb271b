#ifndef FACET_OPS_CLI_PROGRESS_H_
#define FACET_OPS_CLI_PROGRESS_H_

#include <cstdint>
#include <string>

#include "absl/time/time.h"

namespace facet {

// How far long work is, on stderr, with the time that is left and the rate of bytes: a bar redrawn
// in place on a terminal, elsewhere a line every ten seconds. Used by one thread.
class Progress {
 public:
  enum class Unit { kSteps, kBytes };

  explicit Progress(std::string what, Unit unit = Unit::kSteps);
  // Ends the line.
  ~Progress();

  // What is done at the first call counts as done before: neither rate nor time rest on it.
  // REQUIRES: 0 <= done <= total.
  void Show(uint64_t done, uint64_t total);

 private:
  const std::string what_;
  const Unit unit_;
  const bool terminal_;
  const absl::Time begin_;
  int64_t done_before_ = -1;  // -1 until the first call
  absl::Time drawn_;
  bool line_open_ = false;
};

// What stands behind the bar: "40 %  12 s left", or with the bytes and their rate,
// "40 %  0.4 of 1.0 GB, 33.3 MB/s, 18 s left". `done_now` of `done` took `seconds`.
std::string DescribeProgress(Progress::Unit unit, uint64_t done, uint64_t total, uint64_t done_now,
                             double seconds);

}  // namespace facet

#endif  // FACET_OPS_CLI_PROGRESS_H_
