#include "model/media/image_patches.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/status_macros.h"
#include "model/media/image_resize.h"

namespace facet {

ImagePatches CutPatches(const RgbImage& image) {
  CHECK(image.width % kPatchSide == 0 && image.height % kPatchSide == 0)
      << image.width << " x " << image.height;
  ImagePatches patches = {image.width / kPatchSide, image.height / kPatchSide, {}};
  patches.values.resize(image.rgb.size());
  constexpr size_t kPatchRowBytes = size_t{3} * kPatchSide;
  const uint8_t* in = image.rgb.data();
  for (int y = 0; y < image.height; ++y) {
    const size_t first_patch = static_cast<size_t>(y / kPatchSide) * patches.grid_width;
    uint8_t* out = &patches.values[first_patch * kPatchValues + y % kPatchSide * kPatchRowBytes];
    for (int x = 0; x < patches.grid_width; ++x, in += kPatchRowBytes, out += kPatchValues) {
      std::copy_n(in, kPatchRowBytes, out);
    }
  }
  return patches;
}

absl::StatusOr<ImagePatches> MakeImagePatches(RgbImage image, int tokens_max) {
  ASSIGN_OR_RETURN(const ImageSize size, ResizedImageSize({image.width, image.height}, tokens_max));
  return CutPatches(ResizeImage(std::move(image), size));
}

}  // namespace facet
