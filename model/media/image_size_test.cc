#include "model/media/image_size.h"

#include <boost/json.hpp>

#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/json.h"
#include "model/media/testing/test_media.h"

namespace facet {
namespace {

using ::facet::testing::ReadGolden;
using ::facet::testing::StatusIs;
using ::testing::HasSubstr;

// Given the sizes of the golden set, expect the reference's sizes, or an error where it has one.
TEST(ImageSizeTest, GivesTheReferencesSizes) {
  ASSERT_OK_AND_ASSIGN(const boost::json::value golden,
                       ParseJson(ReadGolden("image.json"), "image.json"));
  const boost::json::array& sizes = golden.at("sizes").as_array();
  ASSERT_GE(sizes.size(), 50U);
  for (const boost::json::value& size : sizes) {
    SCOPED_TRACE(boost::json::serialize(size));
    const auto resized =
        ResizedImageSize({size.at("width").to_number<int>(), size.at("height").to_number<int>()},
                         size.at("max_soft_tokens").to_number<int>());
    ASSERT_EQ(resized.ok(), size.as_object().contains("resized_width")) << resized.status();
    if (!resized.ok()) continue;
    EXPECT_EQ(resized->width, size.at("resized_width").to_number<int>());
    EXPECT_EQ(resized->height, size.at("resized_height").to_number<int>());
    EXPECT_EQ(resized->width / kPatchSide * (resized->height / kPatchSide),
              size.at("tokens").to_number<int>());
  }
}

// Given every shape that a decoder lets pass, expect whole patches within the budget, or an error.
TEST(ImageSizeTest, StaysWithinTheBudget) {
  for (const int tokens_max : kImageTokensMaxChoices) {
    for (int width = 1; width <= 65'535; width = width * 5 / 4 + 1) {
      for (int height = 1; height <= 65'535; height = height * 4 / 3 + 1) {
        const auto size = ResizedImageSize({width, height}, tokens_max);
        ASSERT_TRUE(size.ok()) << size.status();
        ASSERT_EQ(size->width % kPatchSide, 0);
        ASSERT_EQ(size->height % kPatchSide, 0);
        const int tokens = size->width / kPatchSide * (size->height / kPatchSide);
        ASSERT_GE(tokens, 1) << width << " x " << height;
        ASSERT_LE(tokens, tokens_max) << width << " x " << height;
      }
    }
  }
}

// Given no picture, or a budget that the model does not know, expect an error that names it.
TEST(ImageSizeTest, RefusesEmptyPicturesAndOtherBudgets) {
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  EXPECT_THAT(ResizedImageSize({0, 10}, 70), StatusIs(kInvalid, HasSubstr("0 x 10")));
  EXPECT_THAT(ResizedImageSize({10, 0}, 70), StatusIs(kInvalid, HasSubstr("10 x 0")));
  EXPECT_THAT(ResizedImageSize({10, 10}, 256), StatusIs(kInvalid, HasSubstr("256 is not one of")));
}

}  // namespace
}  // namespace facet
