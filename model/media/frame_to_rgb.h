#ifndef FACET_MODEL_MEDIA_FRAME_TO_RGB_H_
#define FACET_MODEL_MEDIA_FRAME_TO_RGB_H_

#include "absl/status/statusor.h"
#include "model/media/ffmpeg.h"
#include "model/media/rgb_image.h"

namespace facet {

// A decoded picture as RGB bytes, on white where it is transparent. Pictures of red, green, blue,
// grey or palettes are exact (16-bit samples lose their low byte); JPEG's luma and chroma become
// what libjpeg makes of them; those of lossy WebP and video go through libswscale, by the frame's
// own matrix and range. Frees
// the frame's pixels before the result is complete, where that spares memory.
absl::StatusOr<RgbImage> FrameToRgb(Frame frame);

}  // namespace facet

#endif  // FACET_MODEL_MEDIA_FRAME_TO_RGB_H_
