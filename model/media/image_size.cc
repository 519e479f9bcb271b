#include "model/media/image_size.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace facet {
namespace {

std::string Text(ImageSize size) { return absl::StrCat(size.width, " x ", size.height); }

// As the reference computes it, in double precision: another order of operations may floor to
// another patch.
int64_t FlooredSide(double factor, int side) {
  return static_cast<int64_t>(std::floor(factor * side / kPatchSide)) * kPatchSide;
}

}  // namespace

absl::StatusOr<ImageSize> ResizedImageSize(ImageSize original, int tokens_max) {
  if (!absl::c_linear_search(kImageTokensMaxChoices, tokens_max)) {
    return absl::InvalidArgumentError(absl::StrCat("image token budget ", tokens_max,
                                                   " is not one of ",
                                                   absl::StrJoin(kImageTokensMaxChoices, ", ")));
  }
  if (original.width <= 0 || original.height <= 0) {
    return absl::InvalidArgumentError(absl::StrCat("image is empty: ", Text(original), " pixels"));
  }
  const int64_t pixels_max = int64_t{tokens_max} * kPatchSide * kPatchSide;
  const double pixels = static_cast<double>(original.height) * original.width;
  const double factor = std::sqrt(static_cast<double>(pixels_max) / pixels);
  int64_t width = FlooredSide(factor, original.width);
  int64_t height = FlooredSide(factor, original.height);
  if (width == 0 && height == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("image of ", Text(original), " pixels has no size of whole patches"));
  }
  // A strip of one patch's width, as long as it may be.
  const int64_t side_max = int64_t{tokens_max} * kPatchSide;
  if (height == 0) {
    height = kPatchSide;
    width = std::min<int64_t>(int64_t{original.width / original.height} * kPatchSide, side_max);
  } else if (width == 0) {
    width = kPatchSide;
    height = std::min<int64_t>(int64_t{original.height / original.width} * kPatchSide, side_max);
  }
  if (width * height > pixels_max) {
    return absl::InvalidArgumentError(
        absl::StrCat("image of ", Text(original), " pixels does not fit ", tokens_max, " tokens"));
  }
  return ImageSize{static_cast<int>(width), static_cast<int>(height)};
}

}  // namespace facet
