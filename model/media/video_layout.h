#ifndef FACET_MODEL_MEDIA_VIDEO_LAYOUT_H_
#define FACET_MODEL_MEDIA_VIDEO_LAYOUT_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

// Which frames of a video the model sees, and how a prompt tells it. Pure rules, no decoding.

namespace facet {

// The model sees about one frame a second.
inline constexpr double kVideoFramesPerSecond = 1;

// Containers round times, mostly to milliseconds: a clip that is this much shorter or longer than a
// whole number of seconds counts as just that long.
inline constexpr double kVideoClockSlackSeconds = 0.01;

// How many frames a video of `total` frames and `seconds` gives: at least one of any video.
int VideoFrameCount(int total, double seconds);

// The frames k * total / count, k in [0, count). INVALID_ARGUMENT unless 0 < count <= total.
absl::StatusOr<std::vector<int>> VideoFrameIndices(int total, int count);

// "mm:ss", rounded down; minutes past 99 take more digits. REQUIRES: seconds >= 0.
std::string VideoTimestamp(double seconds);

// What takes the place of <|video|> in a prompt: for each frame its timestamp and
// `tokens_per_frame` placeholders between the marks of an image, one space between frames.
std::string VideoPlaceholders(absl::Span<const std::string> timestamps, int tokens_per_frame);

}  // namespace facet

#endif  // FACET_MODEL_MEDIA_VIDEO_LAYOUT_H_
