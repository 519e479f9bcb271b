#ifndef FACET_MODEL_MEDIA_IMAGE_SIZE_H_
#define FACET_MODEL_MEDIA_IMAGE_SIZE_H_

#include "absl/status/statusor.h"

namespace facet {

// The model sees a picture as squares of this many pixels each way, one token each.
inline constexpr int kPatchSide = 48;

// What a picture may cost at most; the first is a video frame's, 280 a picture's unless asked.
inline constexpr int kImageTokensMaxChoices[] = {70, 140, 280, 560, 1120};
inline constexpr int kImageTokensMaxDefault = 280;
inline constexpr int kVideoFrameTokensMax = 70;

struct ImageSize {
  int width = 0;
  int height = 0;
};

// The size to which a picture is enlarged or reduced, so that it fills `tokens_max` patches with
// about its own aspect ratio: both sides are multiples of kPatchSide and width * height at most
// tokens_max * kPatchSide^2. INVALID_ARGUMENT for a budget that is no choice, for an empty
// picture, and for one so narrow that no size fits.
absl::StatusOr<ImageSize> ResizedImageSize(ImageSize original, int tokens_max);

}  // namespace facet

#endif  // FACET_MODEL_MEDIA_IMAGE_SIZE_H_
