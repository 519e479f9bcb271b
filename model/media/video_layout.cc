#include "model/media/video_layout.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace facet {

int VideoFrameCount(int total, double seconds) {
  const double wanted = std::floor((seconds + kVideoClockSlackSeconds) * kVideoFramesPerSecond);
  return static_cast<int>(std::clamp<double>(wanted, std::min(total, 1), total));
}

absl::StatusOr<std::vector<int>> VideoFrameIndices(int total, int count) {
  if (count <= 0 || count > total) {
    return absl::InvalidArgumentError(
        absl::StrCat("video of ", total, " frames cannot give ", count));
  }
  std::vector<int> indices(count);
  for (int k = 0; k < count; ++k) indices[k] = static_cast<int>(int64_t{k} * total / count);
  return indices;
}

std::string VideoTimestamp(double seconds) {
  const auto whole = static_cast<int64_t>(seconds);
  return absl::StrFormat("%02d:%02d", whole / 60, whole % 60);
}

std::string VideoPlaceholders(absl::Span<const std::string> timestamps, int tokens_per_frame) {
  std::string text;
  for (const std::string& timestamp : timestamps) {
    absl::StrAppend(&text, text.empty() ? "" : " ", timestamp, " <|image>");
    for (int i = 0; i < tokens_per_frame; ++i) text += "<|video|>";
    text += "<image|>";
  }
  return text;
}

}  // namespace facet
