#include "model/media/jpeg_color.h"

#include <algorithm>
#include <cstdint>
#include <vector>

namespace facet {
namespace {

// One chroma plane, and how it is enlarged to the size of the picture.
struct Chroma {
  const uint8_t* samples;
  int stride;  // bytes
  int width;
  int height;
  bool half_width;
  bool half_height;
};

Chroma Plane(const AVFrame& frame, int plane) {
  Chroma chroma = {
      frame.data[plane], frame.linesize[plane], frame.width, frame.height, false, false};
  chroma.half_width = frame.format != AV_PIX_FMT_YUVJ444P;
  chroma.half_height = frame.format == AV_PIX_FMT_YUVJ420P;
  if (chroma.half_width) chroma.width = (frame.width + 1) / 2;
  if (chroma.half_height) chroma.height = (frame.height + 1) / 2;
  return chroma;
}

// Writes the chroma of the picture's row `y`, 2 * chroma.width samples if the width is halved.
// `sums` has room for chroma.width numbers.
void EnlargeRow(const Chroma& chroma, int y, std::vector<int>& sums, uint8_t* out) {
  const int near_row = chroma.half_height ? y / 2 : y;
  const uint8_t* near = chroma.samples + int64_t{chroma.stride} * near_row;
  if (!chroma.half_width) {
    std::copy_n(near, chroma.width, out);
    return;
  }
  // Sums of weight 4 where both sides are halved, else 1. Ties between two bytes are rounded up and
  // down in turn, so that the mean stays.
  int scale = 1;
  if (chroma.half_height) {
    const int next_row = std::clamp(near_row + (y % 2 == 0 ? -1 : 1), 0, chroma.height - 1);
    const uint8_t* next = chroma.samples + int64_t{chroma.stride} * next_row;
    for (int x = 0; x < chroma.width; ++x) sums[x] = 3 * near[x] + next[x];
    scale = 4;
  } else {
    std::copy_n(near, chroma.width, sums.data());
  }
  const int shift = scale == 4 ? 4 : 2;
  const int round_left = scale == 4 ? 8 : 1;
  const int round_right = scale == 4 ? 7 : 2;
  const int last = chroma.width - 1;
  for (int x = 0; x <= last; ++x) {
    const int left = sums[std::max(x - 1, 0)];
    const int right = sums[std::min(x + 1, last)];
    out[size_t{2} * x] = static_cast<uint8_t>((3 * sums[x] + left + round_left) >> shift);
    out[size_t{2} * x + 1] = static_cast<uint8_t>((3 * sums[x] + right + round_right) >> shift);
  }
}

uint8_t ToByte(int value) { return static_cast<uint8_t>(std::clamp(value, 0, 255)); }

// ITU-R BT.601, in 65536ths.
void MixRow(const uint8_t* luma, const uint8_t* blue, const uint8_t* red, int width, uint8_t* out) {
  constexpr int kRedFromRed = 91'881;     // 1.40200
  constexpr int kGreenFromBlue = 22'554;  // 0.34414
  constexpr int kGreenFromRed = 46'802;   // 0.71414
  constexpr int kBlueFromBlue = 116'130;  // 1.77200
  constexpr int kHalf = 1 << 15;
  for (int x = 0; x < width; ++x, out += 3) {
    const int b = blue[x] - 128;
    const int r = red[x] - 128;
    out[0] = ToByte(luma[x] + ((kRedFromRed * r + kHalf) >> 16));
    out[1] = ToByte(luma[x] + ((kHalf - kGreenFromBlue * b - kGreenFromRed * r) >> 16));
    out[2] = ToByte(luma[x] + ((kBlueFromBlue * b + kHalf) >> 16));
  }
}

}  // namespace

bool IsJpegColor(const AVFrame& frame) {
  return frame.format == AV_PIX_FMT_YUVJ420P || frame.format == AV_PIX_FMT_YUVJ422P ||
         frame.format == AV_PIX_FMT_YUVJ444P;
}

RgbImage JpegToRgb(const AVFrame& frame) {
  RgbImage image = {frame.width, frame.height, {}};
  image.rgb.resize(size_t{3} * frame.width * frame.height);
  const Chroma blue = Plane(frame, 1);
  const Chroma red = Plane(frame, 2);
  std::vector<int> sums(blue.width);
  std::vector<uint8_t> blue_row(size_t{2} * blue.width);
  std::vector<uint8_t> red_row(size_t{2} * red.width);
  for (int y = 0; y < frame.height; ++y) {
    EnlargeRow(blue, y, sums, blue_row.data());
    EnlargeRow(red, y, sums, red_row.data());
    MixRow(frame.data[0] + int64_t{frame.linesize[0]} * y, blue_row.data(), red_row.data(),
           frame.width, &image.rgb[size_t{3} * frame.width * y]);
  }
  return image;
}

}  // namespace facet
