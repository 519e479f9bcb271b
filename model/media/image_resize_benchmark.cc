// What a photo costs to resize.

#include <cstdint>
#include <utility>

#include "benchmark/benchmark.h"
#include "model/media/image_resize.h"
#include "model/media/image_size.h"
#include "model/media/rgb_image.h"

namespace facet {
namespace {

RgbImage Photo(int width, int height) {
  RgbImage image = {width, height, {}};
  image.rgb.resize(size_t{3} * width * height);
  uint32_t noise = 1;
  for (uint8_t& value : image.rgb)
    value = static_cast<uint8_t>((noise = noise * 1664525 + 1013904223) >> 24);
  return image;
}

// Arguments: width, height, token budget.
void BM_ResizeImage(benchmark::State& state) {
  const RgbImage photo = Photo(static_cast<int>(state.range(0)), static_cast<int>(state.range(1)));
  const auto size = ResizedImageSize({photo.width, photo.height}, static_cast<int>(state.range(2)));
  for (auto _ : state) {
    state.PauseTiming();
    RgbImage image = photo;
    state.ResumeTiming();
    benchmark::DoNotOptimize(ResizeImage(std::move(image), *size));
  }
}
BENCHMARK(BM_ResizeImage)
    ->Unit(benchmark::kMillisecond)
    ->Args({4000, 3000, 280})
    ->Args({4000, 3000, 1120})
    ->Args({1920, 1080, 70})
    ->Args({640, 480, 280});

}  // namespace
}  // namespace facet
