#include "model/media/image_orientation.h"

#include <string>

#include "gtest/gtest.h"

namespace facet {
namespace {

// A picture of letters, one a pixel, in rows divided by '/'.
RgbImage Letters(const std::string& text) {
  RgbImage image;
  for (const char letter : text) {
    if (letter == '/') {
      ++image.height;
    } else {
      image.rgb.insert(image.rgb.end(), {static_cast<uint8_t>(letter), 1, 2});
    }
  }
  ++image.height;
  image.width = static_cast<int>(image.rgb.size()) / 3 / image.height;
  return image;
}

std::string Text(const RgbImage& image) {
  std::string text;
  for (int y = 0; y < image.height; ++y) {
    if (y > 0) text += '/';
    for (int x = 0; x < image.width; ++x) {
      const uint8_t* pixel = &image.rgb[(size_t(y) * image.width + x) * 3];
      EXPECT_EQ(pixel[1], 1);
      EXPECT_EQ(pixel[2], 2);
      text += static_cast<char>(pixel[0]);
    }
  }
  return text;
}

// Given each of EXIF's numbers, expect the picture upright; given another, expect it as stored.
TEST(ImageOrientationTest, TurnsAndMirrors) {
  const char* const kUpright[] = {"abc/def",  "abc/def",  "cba/fed",  "fed/cba",  "def/abc",
                                  "ad/be/cf", "da/eb/fc", "fc/eb/da", "cf/be/ad", "abc/def"};
  for (int orientation = 0; orientation <= 9; ++orientation) {
    EXPECT_EQ(Text(Upright(Letters("abc/def"), orientation)), kUpright[orientation]) << orientation;
  }
}

}  // namespace
}  // namespace facet
