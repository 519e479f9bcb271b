#include "model/media/image_resize.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/check.h"

namespace facet {
namespace {

// For each output sample the inputs [first, first + taps) and their weights, as integers that are
// the real ones times 2^shift.
struct Filter {
  struct Window {
    int first;
    int taps;
    const int16_t* weights;
  };
  int shift;
  int taps_max;
  std::vector<int> first;        // [outputs]
  std::vector<int> taps;         // [outputs]
  std::vector<int16_t> weights;  // [outputs, taps_max]

  Window At(int output) const {
    return {first[output], taps[output], &weights[static_cast<size_t>(output) * taps_max]};
  }
};

double Cubic(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

// The largest shift, up to 22, at which the greatest weight still fits in 16 bits.
int ShiftFor(double weight_max) {
  int shift = 0;
  while (shift < 22 && std::lround(weight_max * (1 << (shift + 1))) < (1 << 15)) ++shift;
  return shift;
}

// Rounds ties up, as std::lround would not below zero.
int ToIndex(double position) { return static_cast<int>(std::floor(position + 0.5)); }

Filter MakeFilter(int inputs, int outputs) {
  const double scale = static_cast<double>(inputs) / outputs;
  const double stretch = std::max(scale, 1.0);
  const double support = 2 * stretch;
  Filter filter;
  filter.taps_max = static_cast<int>(std::ceil(support)) * 2 + 1;
  filter.first.resize(outputs);
  filter.taps.resize(outputs);
  std::vector<double> weights(static_cast<size_t>(outputs) * filter.taps_max);
  double weight_max = 0;
  for (int i = 0; i < outputs; ++i) {
    const double center = scale * (i + 0.5);
    const int first = std::max(ToIndex(center - support), 0);
    const int taps = std::min(ToIndex(center + support), inputs) - first;
    filter.first[i] = first;
    filter.taps[i] = taps;
    double* row = &weights[static_cast<size_t>(i) * filter.taps_max];
    double sum = 0;
    for (int j = 0; j < taps; ++j) {
      row[j] = Cubic((j + first - center + 0.5) / stretch);
      sum += row[j];
    }
    for (int j = 0; j < taps; ++j) {
      row[j] /= sum;
      weight_max = std::max(weight_max, row[j]);
    }
  }
  filter.shift = ShiftFor(weight_max);
  filter.weights.resize(weights.size());
  for (size_t i = 0; i < weights.size(); ++i) {
    filter.weights[i] = static_cast<int16_t>(std::lround(weights[i] * (1 << filter.shift)));
  }
  return filter;
}

uint8_t ToByte(int32_t sum, int shift) {
  return static_cast<uint8_t>(std::clamp(sum >> shift, 0, 255));
}

// Rows are filtered in blocks of this many, side by side, so that one weight meets that many
// values that lie together and the compiler makes vectors of them.
constexpr int kRows = 8;
constexpr int kLanes = 3 * kRows;  // [channel, row]

RgbImage ResizeRows(const RgbImage& image, int width) {
  const Filter filter = MakeFilter(image.width, width);
  RgbImage out = {width, image.height, {}};
  const size_t in_stride = size_t{3} * image.width;
  const size_t out_stride = size_t{3} * width;
  out.rgb.resize(out_stride * out.height);
  std::vector<int16_t> block(in_stride * kRows);  // [width, channel, row]
  for (int y = 0; y < image.height; y += kRows) {
    const int rows = std::min(kRows, image.height - y);
    for (int row = 0; row < kRows; ++row) {
      // Past the last row, that row once more; nothing is written from it.
      const uint8_t* in = &image.rgb[in_stride * (y + std::min(row, rows - 1))];
      for (size_t i = 0; i < in_stride; ++i) block[i * kRows + row] = in[i];
    }
    for (int x = 0; x < width; ++x) {
      const Filter::Window window = filter.At(x);
      const int16_t* values = &block[static_cast<size_t>(window.first) * kLanes];
      int32_t sums[kLanes];
      for (int32_t& sum : sums) sum = 1 << (filter.shift - 1);
      for (int tap = 0; tap < window.taps; ++tap, values += kLanes) {
        const int16_t weight = window.weights[tap];
        for (int lane = 0; lane < kLanes; ++lane) sums[lane] += int32_t{values[lane]} * weight;
      }
      uint8_t* to = &out.rgb[out_stride * y + size_t{3} * x];
      for (int row = 0; row < rows; ++row, to += out_stride) {
        for (int channel = 0; channel < 3; ++channel) {
          to[channel] = ToByte(sums[channel * kRows + row], filter.shift);
        }
      }
    }
  }
  return out;
}

RgbImage ResizeColumns(const RgbImage& image, int height) {
  const Filter filter = MakeFilter(image.height, height);
  RgbImage out = {image.width, height, {}};
  const size_t stride = size_t{3} * image.width;
  out.rgb.resize(stride * height);
  std::vector<int32_t> sums(stride);
  for (int y = 0; y < height; ++y) {
    const Filter::Window window = filter.At(y);
    std::fill(sums.begin(), sums.end(), 1 << (filter.shift - 1));
    for (int tap = 0; tap < window.taps; ++tap) {
      const int16_t weight = window.weights[tap];
      const uint8_t* in = &image.rgb[stride * (window.first + tap)];
      for (size_t i = 0; i < stride; ++i) sums[i] += int32_t{int16_t{in[i]}} * weight;
    }
    uint8_t* to = &out.rgb[stride * y];
    for (size_t i = 0; i < stride; ++i) to[i] = ToByte(sums[i], filter.shift);
  }
  return out;
}

}  // namespace

RgbImage ResizeImage(RgbImage image, ImageSize size) {
  CHECK(size.width > 0 && size.height > 0) << size.width << " x " << size.height;
  CHECK_EQ(image.rgb.size(), size_t{3} * image.width * image.height);
  if (image.width != size.width) image = ResizeRows(image, size.width);
  if (image.height != size.height) image = ResizeColumns(image, size.height);
  return image;
}

}  // namespace facet
