#ifndef FACET_MODEL_MEDIA_VIDEO_FRAMES_H_
#define FACET_MODEL_MEDIA_VIDEO_FRAMES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/media/image_patches.h"

namespace facet {

// What one video may take at most.
struct VideoLimits {
  int64_t bytes_max = int64_t{100} << 20;    // of the file
  double seconds_max = 60;                   // what the model was made for
  int frames_max = 7'200;                    // in the file: 60 s at 120 a second
  int64_t pixels_max = 4096 * 2304;          // of a frame
  int64_t total_pixels_max = 8'000'000'000;  // of all frames: 60 s of full HD at 60 a second
  // All frames up to the last wanted one must be decoded, most of them in vain, so a minute of full
  // HD takes some ten seconds where a broken file takes none.
  int64_t cpu_ms_max = 20'000;
};

struct VideoFrame {
  std::string timestamp;  // mm:ss from the first frame on
  ImagePatches patches;   // at most kVideoFrameTokensMax tokens; the same grid in all frames
};

// Decodes an MP4, MOV, WebM, Matroska or AVI file (H.264, H.265, VP8, VP9, AV1, MPEG-4, Motion
// JPEG), chooses about one frame a second as video_layout.h says, and resizes each, turned as the
// file says. Its sound is not read. INVALID_ARGUMENT, which begins with "video", says what is wrong
// with `file` (one without frames, too) or which limit it passes: never a silent cut. Memory: that
// of a few frames, and of the result. Thread-safe; one thread's work.
absl::StatusOr<std::vector<VideoFrame>> DecodeVideo(absl::string_view file,
                                                    const VideoLimits& limits = {});

}  // namespace facet

#endif  // FACET_MODEL_MEDIA_VIDEO_FRAMES_H_
