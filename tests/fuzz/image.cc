// A picture's file: an error, or a picture within the limits, of which patches can be cut.

#include <utility>

#include "base/check.h"
#include "model/media/image_decoder.h"
#include "model/media/image_patches.h"
#include "tests/fuzz/fuzz_target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const facet::ImageLimits limits = {.pixels_max = 1 << 16, .side_max = 1 << 12};
  auto image = facet::DecodeImage(facet::AsText(data, size), limits);
  if (!image.ok()) {
    CHECK(!image.status().message().empty());
    return 0;
  }
  CHECK(image->width > 0 && image->width <= limits.side_max) << image->width;
  CHECK(image->height > 0 && image->height <= limits.side_max) << image->height;
  CHECK_LE(int64_t{image->width} * image->height, limits.pixels_max);
  CHECK_EQ(image->rgb.size(), size_t{3} * image->width * image->height);
  constexpr int kTokensMax = 70;
  const auto patches = facet::MakeImagePatches(*std::move(image), kTokensMax);
  CHECK_OK(patches);
  CHECK(patches->tokens() > 0 && patches->tokens() <= kTokensMax) << patches->tokens();
  CHECK_EQ(patches->values.size(), size_t{facet::kPatchValues} * patches->tokens());
  return 0;
}
