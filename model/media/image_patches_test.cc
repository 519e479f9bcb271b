#include "model/media/image_patches.h"

#include <algorithm>
#include <boost/json.hpp>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_matchers.h"
#include "gtest/gtest.h"
#include "model/json.h"
#include "model/media/image_decoder.h"
#include "model/media/image_resize.h"
#include "model/media/testing/test_media.h"
#include "model/safetensors.h"

namespace facet {
namespace {

using ::facet::testing::AsBytes;
using ::facet::testing::ReadGolden;
using ::facet::testing::Sha256Hex;

// The patches as the worker makes them of the wire's bytes.
std::vector<float> AsFloats(const ImagePatches& patches) {
  std::vector<float> floats(patches.values.size());
  for (size_t i = 0; i < floats.size(); ++i) {
    floats[i] = static_cast<float>(patches.values[i]) * (1.0F / 255.0F);
  }
  return floats;
}

RgbImage Decode(absl::string_view name) {
  const auto image = DecodeImage(ReadGolden(name));
  EXPECT_OK(image);
  return image.value_or(RgbImage{});
}

// The pictures of the golden set.
class ImageGoldenTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(golden_, ParseJson(ReadGolden("image.json"), "image.json"));
    ASSERT_FALSE(images().empty());
  }
  const boost::json::array& images() { return golden_.at("images").as_array(); }

  boost::json::value golden_;
};

// Given each picture, expect its size and, byte for byte, the reference's resize.
TEST_F(ImageGoldenTest, ResizesAsTheReference) {
  for (const boost::json::value& golden : images()) {
    SCOPED_TRACE(golden.at("file").as_string().c_str());
    RgbImage image = Decode(golden.at("file").as_string().c_str());
    EXPECT_EQ(image.width, golden.at("width").to_number<int>());
    EXPECT_EQ(image.height, golden.at("height").to_number<int>());
    ASSERT_OK_AND_ASSIGN(const ImageSize size,
                         ResizedImageSize({image.width, image.height},
                                          golden.at("max_soft_tokens").to_number<int>()));
    ASSERT_EQ(size.width, golden.at("resized_width").to_number<int>());
    ASSERT_EQ(size.height, golden.at("resized_height").to_number<int>());
    const RgbImage resized = ResizeImage(std::move(image), size);
    EXPECT_EQ(Sha256Hex(AsBytes(resized.rgb)), golden.at("resized_rgb_sha256").as_string().c_str());
    if (golden.at("resized").is_null()) continue;

    // Where a byte differs, how far: the reference differs from itself between processors.
    const RgbImage expected = Decode(golden.at("resized").as_string().c_str());
    ASSERT_EQ(expected.rgb.size(), resized.rgb.size());
    int difference_max = 0;
    size_t differing = 0;
    for (size_t i = 0; i < resized.rgb.size(); ++i) {
      const int difference = std::abs(resized.rgb[i] - expected.rgb[i]);
      difference_max = std::max(difference_max, difference);
      differing += difference > 0;
    }
    EXPECT_LE(difference_max, 2);
    EXPECT_LE(static_cast<double>(differing), 0.02 * static_cast<double>(resized.rgb.size()));
  }
}

// Given each resized picture, expect the reference's grid, positions and patches.
TEST_F(ImageGoldenTest, CutsPatchesAsTheReference) {
  const std::string file = ReadGolden("image.safetensors");
  ASSERT_OK_AND_ASSIGN(const auto tensors, ParseSafetensors(file));
  int rows_compared = 0;
  for (size_t i = 0; i < images().size(); ++i) {
    const boost::json::value& golden = images()[i];
    SCOPED_TRACE(golden.at("file").as_string().c_str());
    const bool given = !golden.at("resized").is_null();
    RgbImage image = Decode(golden.at(given ? "resized" : "file").as_string().c_str());
    ImagePatches patches;
    if (given) {
      patches = CutPatches(image);
    } else {
      ASSERT_OK_AND_ASSIGN(
          patches,
          MakeImagePatches(std::move(image), golden.at("max_soft_tokens").to_number<int>()));
    }
    EXPECT_EQ(patches.grid_width, golden.at("grid_width").to_number<int>());
    EXPECT_EQ(patches.grid_height, golden.at("grid_height").to_number<int>());
    ASSERT_EQ(patches.tokens(), golden.at("tokens").to_number<int>());
    ASSERT_EQ(patches.values.size(), size_t{kPatchValues} * patches.tokens());
    const std::vector<float> floats = AsFloats(patches);
    EXPECT_EQ(Sha256Hex(AsBytes(floats)), golden.at("patches_f32_sha256").as_string().c_str());

    if (const auto* positions = golden.at("positions_xy").if_array(); positions != nullptr) {
      for (int token = 0; token < patches.tokens(); ++token) {
        EXPECT_EQ((*positions)[token].at(0).to_number<int>(), token % patches.grid_width);
        EXPECT_EQ((*positions)[token].at(1).to_number<int>(), token / patches.grid_width);
      }
    }
    const std::string name = absl::StrCat("image", i, ".patch_rows");
    const auto tensor = std::find_if(tensors.begin(), tensors.end(),
                                     [&](const auto& tensor) { return tensor.name == name; });
    ASSERT_NE(tensor, tensors.end());
    const boost::json::array& rows = golden.at("patch_rows").as_array();
    ASSERT_EQ(tensor->data.size(), sizeof(float) * kPatchValues * rows.size());
    for (size_t row = 0; row < rows.size(); ++row, ++rows_compared) {
      const float* ours = &floats[size_t{kPatchValues} * rows[row].to_number<int>()];
      for (int value = 0; value < kPatchValues; ++value) {
        float expected;
        std::memcpy(&expected, tensor->data.data() + sizeof(float) * (row * kPatchValues + value),
                    sizeof(float));
        ASSERT_NEAR(ours[value], expected, 1e-7) << "row " << row << " value " << value;
      }
    }
  }
  EXPECT_GE(rows_compared, 6);
}

// Given a video's frames, one below the other, expect the reference's resize of the chosen ones.
TEST(VideoGoldenTest, ResizesFramesAsTheReference) {
  ASSERT_OK_AND_ASSIGN(const boost::json::value golden,
                       ParseJson(ReadGolden("video.json"), "video.json"));
  const RgbImage frames = Decode(golden.at("frames").as_string().c_str());
  const int height = golden.at("frame_height").to_number<int>();
  ASSERT_OK_AND_ASSIGN(const ImageSize size,
                       ResizedImageSize({frames.width, height}, kVideoFrameTokensMax));
  EXPECT_EQ(size.width, golden.at("resized_width").to_number<int>());
  EXPECT_EQ(size.height, golden.at("resized_height").to_number<int>());
  std::vector<uint8_t> resized;
  const size_t frame_bytes = size_t{3} * frames.width * height;
  for (const boost::json::value& index : golden.at("indices").as_array()) {
    const auto first =
        frames.rgb.begin() + static_cast<int64_t>(frame_bytes) * index.to_number<int>();
    const RgbImage frame = ResizeImage(
        {frames.width, height, {first, first + static_cast<int64_t>(frame_bytes)}}, size);
    resized.insert(resized.end(), frame.rgb.begin(), frame.rgb.end());
  }
  EXPECT_EQ(Sha256Hex(AsBytes(resized)), golden.at("resized_rgb_sha256").as_string().c_str());
}

}  // namespace
}  // namespace facet
