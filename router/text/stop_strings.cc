#include "router/text/stop_strings.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "base/check.h"

namespace facet {

StopStrings::StopStrings(std::vector<std::string> stops) : stops_(std::move(stops)) {
  for (const std::string& stop : stops_) {
    CHECK(!stop.empty());
    stop_bytes_max_ = std::max(stop_bytes_max_, stop.size());
  }
}

std::string StopStrings::Add(absl::string_view text) {
  if (matched()) return "";
  if (stops_.empty()) return std::string(text);
  held_.append(text.data(), text.size());
  size_t cut = std::string::npos;
  for (const std::string& stop : stops_) {
    const size_t at = held_.find(stop);
    if (at >= cut) continue;
    cut = at;
    match_ = stop;
  }
  if (matched()) {
    held_.resize(cut);
    return std::exchange(held_, std::string());
  }
  const size_t certain = held_.size() - PossibleStart();
  std::string result = held_.substr(0, certain);
  held_.erase(0, certain);
  return result;
}

std::string StopStrings::Finish() { return std::exchange(held_, std::string()); }

size_t StopStrings::PossibleStart() const {
  for (size_t size = std::min(held_.size(), stop_bytes_max_ - 1); size > 0; --size) {
    const absl::string_view end = absl::string_view(held_).substr(held_.size() - size);
    for (const std::string& stop : stops_) {
      if (absl::StartsWith(stop, end)) return size;
    }
  }
  return 0;
}

}  // namespace facet
