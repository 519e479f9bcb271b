#include "model/media/image_orientation.h"

#include <algorithm>
#include <cstdint>
#include <utility>

namespace facet {

RgbImage Upright(RgbImage image, int orientation) {
  if (orientation < 2 || orientation > 8) return image;
  // Each of the eight is a choice of three: read columns for rows, from the right, from below.
  const bool swap = orientation >= 5;
  const bool from_right =
      orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const bool from_below =
      orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  const int64_t row = int64_t{3} * image.width;
  // Steps in the stored picture for a step right and a step down in the upright one.
  const int64_t along_row = from_right ? -3 : 3;
  const int64_t along_column = from_below ? -row : row;
  const int64_t right = swap ? along_column : along_row;
  const int64_t down = swap ? along_row : along_column;

  RgbImage out = {swap ? image.height : image.width, swap ? image.width : image.height, {}};
  out.rgb.resize(image.rgb.size());
  int64_t line = (from_right ? row - 3 : 0) + (from_below ? row * (image.height - 1) : 0);
  uint8_t* to = out.rgb.data();
  for (int y = 0; y < out.height; ++y, line += down) {
    int64_t from = line;
    for (int x = 0; x < out.width; ++x, from += right, to += 3) {
      std::copy_n(&image.rgb[from], 3, to);
    }
  }
  return out;
}

}  // namespace facet
