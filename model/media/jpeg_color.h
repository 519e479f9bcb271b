#ifndef FACET_MODEL_MEDIA_JPEG_COLOR_H_
#define FACET_MODEL_MEDIA_JPEG_COLOR_H_

#include "model/media/ffmpeg.h"
#include "model/media/rgb_image.h"

namespace facet {

// Whether a decoded frame is what JpegToRgb takes: luma and chroma of full range, as JPEG has it,
// chroma at full size, at half the width, or at half of both sides.
bool IsJpegColor(const AVFrame& frame);

// The frame as RGB, chroma enlarged and mixed as libjpeg does it (and so the reference), bit for
// bit: three quarters of the nearest chroma sample and a quarter of the next, along each halved
// side. REQUIRES: IsJpegColor(frame). Thread-safe.
RgbImage JpegToRgb(const AVFrame& frame);

}  // namespace facet

#endif  // FACET_MODEL_MEDIA_JPEG_COLOR_H_
