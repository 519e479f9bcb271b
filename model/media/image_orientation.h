#ifndef FACET_MODEL_MEDIA_IMAGE_ORIENTATION_H_
#define FACET_MODEL_MEDIA_IMAGE_ORIENTATION_H_

#include "model/media/rgb_image.h"

namespace facet {

// How a camera was held, by EXIF's numbers 1 to 8: how stored pixels must be turned to be seen
// upright. 1 is upright; 3, 6 and 8 turn by 180, 90 and 270 degrees clockwise; 2, 4, 5 and 7 mirror
// left to right first, then turn by 0, 180, 270 and 90 degrees.
// Any other number is taken for 1, as cameras without a sensor write 0. Thread-safe.
RgbImage Upright(RgbImage image, int orientation);

}  // namespace facet

#endif  // FACET_MODEL_MEDIA_IMAGE_ORIENTATION_H_
