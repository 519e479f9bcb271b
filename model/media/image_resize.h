#ifndef FACET_MODEL_MEDIA_IMAGE_RESIZE_H_
#define FACET_MODEL_MEDIA_IMAGE_RESIZE_H_

#include "model/media/image_size.h"
#include "model/media/rgb_image.h"

namespace facet {

// Bicubic with antialias on bytes: a = -0.5, support widened by the factor of reduction, first
// along rows, then along columns, each rounded to bytes, with 16-bit integer weights. This is
// torchvision's arithmetic, bit for bit on the golden pictures, and integer, so that every machine
// gives the same bytes (they are hashed into page keys). Equal sizes return `image` as it is.
//
// REQUIRES: both sizes positive. Memory beside input and output: one byte for each of
// image.height * size.width * 3. Thread-safe.
RgbImage ResizeImage(RgbImage image, ImageSize size);

}  // namespace facet

#endif  // FACET_MODEL_MEDIA_IMAGE_RESIZE_H_
