#ifndef FACET_MODEL_MEDIA_IMAGE_DECODER_H_
#define FACET_MODEL_MEDIA_IMAGE_DECODER_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/media/rgb_image.h"

namespace facet {

// What one picture may take at most. All of it is known, from the file's header, before memory is
// taken for pixels. Decoding takes up to 7 bytes a pixel, or 11 of 16-bit samples, of which FFmpeg
// takes 32 million pixels (see ffmpeg.cc).
struct ImageLimits {
  int64_t bytes_max = int64_t{32} << 20;     // of the file
  int64_t pixels_max = 64'000'000;           // 8,000 x 8,000; at most 64,000,000
  int64_t side_max = 65'535;                 // pixels, as in JPEG: what a strip costs to resize
  int64_t scanned_pixels_max = 480'000'000;  // pixels times passes of a progressive JPEG
  int64_t cpu_ms_max = 1000;                 // for what can be interrupted
};

// Decodes a PNG, JPEG, WebP, GIF (its first picture) or BMP file to RGB, turned upright as its
// EXIF orientation says (JPEG, WebP), on white where it is transparent. INVALID_ARGUMENT, which
// begins with the word "image" or the format, says what is wrong with `file` or which limit it
// passes. Thread-safe; one thread's work.
absl::StatusOr<RgbImage> DecodeImage(absl::string_view file, const ImageLimits& limits = {});

}  // namespace facet

#endif  // FACET_MODEL_MEDIA_IMAGE_DECODER_H_
