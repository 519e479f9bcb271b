#ifndef FACET_MODEL_MEDIA_IMAGE_HEADER_H_
#define FACET_MODEL_MEDIA_IMAGE_HEADER_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace facet {

enum class ImageFormat { kBmp, kGif, kJpeg, kPng, kWebp };

// "PNG", as errors write it.
absl::string_view ImageFormatName(ImageFormat format);

// What a picture's file says of itself, read before any memory is taken for its pixels.
struct ImageHeader {
  ImageFormat format;
  int64_t width = 0;
  int64_t height = 0;
  int scans = 1;  // how often a decoder passes over the picture; more than 1 in progressive JPEG
};

// INVALID_ARGUMENT for a file of no known format, one without a whole header, one with a side of
// 0, an animated WebP, and a JPEG or GIF whose picture does not end in it. Reads a JPEG to its end,
// a GIF to the end of its first picture, of the others the first bytes. Thread-safe.
absl::StatusOr<ImageHeader> ReadImageHeader(absl::string_view file);

}  // namespace facet

#endif  // FACET_MODEL_MEDIA_IMAGE_HEADER_H_
