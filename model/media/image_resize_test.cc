#include "model/media/image_resize.h"

#include <algorithm>
#include <cstdint>
#include <random>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "model/media/testing/test_media.h"

namespace facet {
namespace {

using ::facet::testing::CpuSeconds;

RgbImage Flat(int width, int height, uint8_t value) {
  return {width, height, std::vector<uint8_t>(size_t{3} * width * height, value)};
}

// Given a picture of one colour, expect that colour at any size: the weights add up to one. The
// sides are those that leave a part of a block of rows, and one row or column alone.
TEST(ImageResizeTest, KeepsAFlatColor) {
  for (const auto& [width, height] : {std::pair{1, 1}, {7, 9}, {1, 300}, {300, 1}, {97, 101}}) {
    for (const ImageSize size : {ImageSize{48, 48}, {96, 144}, {480, 48}}) {
      for (const int value : {0, 1, 127, 255}) {
        const RgbImage out = ResizeImage(Flat(width, height, static_cast<uint8_t>(value)), size);
        ASSERT_EQ(out.rgb.size(), size_t{3} * size.width * size.height);
        const auto [low, high] = std::minmax_element(out.rgb.begin(), out.rgb.end());
        EXPECT_GE(*low, value - 1) << width << " x " << height;
        EXPECT_LE(*high, value + 1) << width << " x " << height;
      }
    }
  }
}

// Given a picture of the wanted size, expect it unchanged, although a filter would round.
TEST(ImageResizeTest, LeavesTheWantedSizeAlone) {
  std::mt19937 random(1);
  RgbImage image = Flat(48, 96, 0);
  for (uint8_t& value : image.rgb) value = static_cast<uint8_t>(random());
  const RgbImage out = ResizeImage(image, {48, 96});
  EXPECT_EQ(out.rgb, image.rgb);
}

// Given a black and a white half, expect the edge where it was, and the channels apart.
TEST(ImageResizeTest, KeepsPlacesAndChannels) {
  RgbImage image = Flat(100, 100, 0);
  for (int y = 0; y < 100; ++y) {
    for (int x = 50; x < 100; ++x) image.rgb[(size_t{100} * y + x) * 3 + 1] = 255;
  }
  const RgbImage out = ResizeImage(image, {480, 48});
  for (int y = 0; y < 48; ++y) {
    for (int x = 0; x < 480; ++x) {
      const uint8_t* pixel = &out.rgb[(size_t{480} * y + x) * 3];
      ASSERT_EQ(pixel[0], 0);
      ASSERT_EQ(pixel[2], 0);
      if (x < 225) {
        ASSERT_LE(pixel[1], 20) << x;
      }
      if (x >= 255) {
        ASSERT_GE(pixel[1], 235) << x;
      }
    }
  }
}

// Given the narrowest strips that a decoder lets pass, expect a cost far below that of a photo.
TEST(ImageResizeTest, BoundsTheCostOfStrips) {
  for (const ImageSize from : {ImageSize{1, 65'535}, {65'535, 1}}) {
    const ImageSize to = from.width == 1 ? ImageSize{48, 13'440} : ImageSize{13'440, 48};
    RgbImage out;
    const double seconds =
        CpuSeconds([&] { out = ResizeImage(Flat(from.width, from.height, 9), to); });
    EXPECT_EQ(out.width, to.width);
    EXPECT_LT(seconds, 0.5);
  }
}

}  // namespace
}  // namespace facet
