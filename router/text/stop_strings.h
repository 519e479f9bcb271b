#ifndef FACET_ROUTER_TEXT_STOP_STRINGS_H_
#define FACET_ROUTER_TEXT_STOP_STRINGS_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace facet {

// Cuts a stream of text before the first stop string. Text that may still become a stop string is
// held back, so the reader never sees a part of one. For one thread at a time.
class StopStrings {
 public:
  // REQUIRES: no empty string.
  explicit StopStrings(std::vector<std::string> stops);

  // Returns the text that is now certain. After a match it returns nothing more.
  std::string Add(absl::string_view text);
  // What was held back when the text ended; nothing after a match.
  std::string Finish();
  bool matched() const { return !match_.empty(); }
  // The stop string that was found first; empty if none was.
  const std::string& match() const { return match_; }

 private:
  // The length of the longest end of held_ that a stop string may begin with.
  size_t PossibleStart() const;

  const std::vector<std::string> stops_;
  size_t stop_bytes_max_ = 0;
  std::string held_;
  std::string match_;
};

}  // namespace facet

#endif  // FACET_ROUTER_TEXT_STOP_STRINGS_H_
