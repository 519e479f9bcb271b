#ifndef FACET_MODEL_MEDIA_IMAGE_PATCHES_H_
#define FACET_MODEL_MEDIA_IMAGE_PATCHES_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "model/media/image_size.h"
#include "model/media/rgb_image.h"

namespace facet {

inline constexpr int kPatchValues = kPatchSide * kPatchSide * 3;  // 6,912
static_assert(kPatchValues == 6912, "the length of the model's patch vector");

// A picture as the model takes it, and as the wire carries it: the worker multiplies by 1/255.
// Token t is the patch at x = t % grid_width, y = t / grid_width.
struct ImagePatches {
  int grid_width = 0;
  int grid_height = 0;
  std::vector<uint8_t> values;  // host, [tokens, 48 rows, 48 columns, 3]

  int tokens() const { return grid_width * grid_height; }
};

// REQUIRES: both sides are multiples of kPatchSide.
ImagePatches CutPatches(const RgbImage& image);

// Resizes the picture for the budget and cuts it. INVALID_ARGUMENT as ResizedImageSize says.
absl::StatusOr<ImagePatches> MakeImagePatches(RgbImage image, int tokens_max);

}  // namespace facet

#endif  // FACET_MODEL_MEDIA_IMAGE_PATCHES_H_
