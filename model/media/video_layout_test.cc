#include "model/media/video_layout.h"

#include <boost/json.hpp>
#include <string>
#include <vector>

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

constexpr int kReferenceFrameCount = 32;          // unless it is asked for another
constexpr double kReferenceFramesPerSecond = 24;  // of a file that does not say

// The frame choices and layouts of the golden set.
class VideoGoldenTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(golden_, ParseJson(ReadGolden("video.json"), "video.json"));
  }

  static std::vector<std::string> Timestamps(const boost::json::array& indices,
                                             const boost::json::value& fps) {
    const double rate = fps.is_null() ? kReferenceFramesPerSecond : fps.to_number<double>();
    std::vector<std::string> timestamps;
    for (const boost::json::value& index : indices) {
      timestamps.push_back(VideoTimestamp(index.to_number<double>() / rate));
    }
    return timestamps;
  }

  boost::json::value golden_;
};

// Given numbers of frames, expect the reference's choice and timestamps, or an error where it has
// one.
TEST_F(VideoGoldenTest, ChoosesFramesAsTheReference) {
  const boost::json::array& samplings = golden_.at("sampling").as_array();
  ASSERT_GE(samplings.size(), 9U);
  for (const boost::json::value& sampling : samplings) {
    SCOPED_TRACE(boost::json::serialize(sampling));
    const boost::json::value& asked = sampling.at("num_frames");
    const auto indices =
        VideoFrameIndices(sampling.at("total").to_number<int>(),
                          asked.is_null() ? kReferenceFrameCount : asked.to_number<int>());
    ASSERT_EQ(indices.ok(), sampling.as_object().contains("indices")) << indices.status();
    if (!indices.ok()) continue;
    EXPECT_EQ(*indices, boost::json::value_to<std::vector<int>>(sampling.at("indices")));
    EXPECT_EQ(Timestamps(sampling.at("indices").as_array(), sampling.at("fps")),
              boost::json::value_to<std::vector<std::string>>(sampling.at("timestamps")));
  }
}

// Given chosen frames, expect the reference's text in place of the video.
TEST_F(VideoGoldenTest, LaysFramesOutAsTheReference) {
  const boost::json::array& layouts = golden_.at("layouts").as_array();
  ASSERT_GE(layouts.size(), 4U);
  for (const boost::json::value& layout : layouts) {
    EXPECT_EQ(VideoPlaceholders(Timestamps(layout.at("indices").as_array(), layout.at("fps")),
                                layout.at("tokens_per_frame").to_number<int>()),
              layout.at("text").as_string());
  }
  EXPECT_EQ(VideoPlaceholders(Timestamps(golden_.at("indices").as_array(), golden_.at("fps")),
                              golden_.at("tokens_per_frame").to_number<int>()),
            golden_.at("layout_text").as_string());
}

// Given lengths, expect one frame for each whole second, one at least, and no more than there are.
TEST(VideoLayoutTest, CountsOneFrameASecond) {
  EXPECT_EQ(VideoFrameCount(300, 10), 10);
  EXPECT_EQ(VideoFrameCount(299, 9.97), 9);
  EXPECT_EQ(VideoFrameCount(72, 2.99966), 3);
  EXPECT_EQ(VideoFrameCount(1800, 60), 60);
  EXPECT_EQ(VideoFrameCount(5, 0.2), 1);
  EXPECT_EQ(VideoFrameCount(1, 0), 1);
  EXPECT_EQ(VideoFrameCount(4, 40), 4);
  EXPECT_EQ(VideoFrameCount(0, 1), 0);
  EXPECT_THAT(VideoFrameIndices(0, 0),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("0 frames cannot give 0")));
}

}  // namespace
}  // namespace facet
