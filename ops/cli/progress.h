#ifndef FACET_OPS_CLI_PROGRESS_H_
#define FACET_OPS_CLI_PROGRESS_H_

#include <cstdint>
#include <string>

#include "absl/time/time.h"

namespace facet {

// A progress bar on stderr with the time that is left: redrawn in place on a terminal, silent
// elsewhere. Used by one thread.
class Progress {
 public:
  explicit Progress(std::string what);
  // Ends the line.
  ~Progress();

  // REQUIRES: 0 <= done <= total.
  void Show(uint64_t done, uint64_t total);

 private:
  const std::string what_;
  const bool terminal_;
  const absl::Time begin_;
  absl::Time drawn_ = absl::InfinitePast();
};

}  // namespace facet

#endif  // FACET_OPS_CLI_PROGRESS_H_
