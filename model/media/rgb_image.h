#ifndef FACET_MODEL_MEDIA_RGB_IMAGE_H_
#define FACET_MODEL_MEDIA_RGB_IMAGE_H_

#include <cstdint>
#include <vector>

namespace facet {

// A picture in memory. width > 0 and height > 0 unless it was moved from.
struct RgbImage {
  int width = 0;
  int height = 0;
  std::vector<uint8_t> rgb;  // host, [height, width, 3]
};

}  // namespace facet

#endif  // FACET_MODEL_MEDIA_RGB_IMAGE_H_
