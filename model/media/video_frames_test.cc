#include "model/media/video_frames.h"

#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/media/testing/test_media.h"

namespace facet {
namespace {

using ::facet::testing::CpuSeconds;
using ::facet::testing::DamagedCopies;
using ::facet::testing::PeakMemoryGrowthBytes;
using ::facet::testing::ReadMedia;
using ::facet::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr int64_t kMegabyte = 1'000'000;

std::vector<std::string> Timestamps(const std::vector<VideoFrame>& frames) {
  std::vector<std::string> timestamps;
  timestamps.reserve(frames.size());
  for (const VideoFrame& frame : frames) timestamps.push_back(frame.timestamp);
  return timestamps;
}

// The clips' frame i is of grey level 20 + 6 * i alone; says which frame these patches are of.
double FrameIndex(const VideoFrame& frame) {
  const auto& values = frame.patches.values;
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / values.size();
  return (mean - 20) / 6;
}

// Given 35 frames of a tenth of a second in each container and codec, with frames out of order and
// hidden ones, expect frames 0, 11 and 23 (k * 35 / 3), with their times, each resized alike.
TEST(VideoFramesTest, DecodesEachFormat) {
  for (const char* name : {"h264.mp4", "h264.mov", "hevc.mp4", "vp8.webm", "vp9.webm", "av1.mkv",
                           "mpeg4.avi", "mjpeg.mov"}) {
    SCOPED_TRACE(name);
    const auto frames = DecodeVideo(ReadMedia(name));
    ASSERT_OK(frames);
    ASSERT_THAT(Timestamps(*frames), ElementsAre("00:00", "00:01", "00:02"));
    constexpr int kIndices[] = {0, 11, 23};
    for (int k = 0; k < 3; ++k) {
      EXPECT_NEAR(FrameIndex((*frames)[k]), kIndices[k], 0.45);
      // 96 x 64 pixels become 480 x 288.
      EXPECT_EQ((*frames)[k].patches.grid_width, 10);
      EXPECT_EQ((*frames)[k].patches.grid_height, 6);
      EXPECT_EQ((*frames)[k].patches.values.size(), 60U * kPatchValues);
    }
  }
}

// Given a clip that a phone held upright marks as turned, expect it turned.
TEST(VideoFramesTest, TurnsAsTheFileSays) {
  ASSERT_OK_AND_ASSIGN(const auto frames, DecodeVideo(ReadMedia("rotated.mp4")));
  ASSERT_EQ(frames.size(), 3U);
  EXPECT_EQ(frames[0].patches.grid_width, 6);
  EXPECT_EQ(frames[0].patches.grid_height, 10);
}

// Given just the longest clip, expect 60 frames; given one half a second longer, expect the error
// to say the limit.
TEST(VideoFramesTest, TakesSixtySecondsAndNoMore) {
  ASSERT_OK_AND_ASSIGN(const auto frames, DecodeVideo(ReadMedia("sixty_seconds.mp4")));
  ASSERT_EQ(frames.size(), 60U);
  EXPECT_EQ(frames[59].timestamp, "00:59");
  EXPECT_THAT(DecodeVideo(ReadMedia("over_sixty_seconds.mp4")),
              StatusIs(kInvalid, HasSubstr("over the limit of 60 s")));
}

// Given what holds no frames, expect an error that says so.
TEST(VideoFramesTest, RefusesWhatHoldsNoFrames) {
  EXPECT_THAT(DecodeVideo(ReadMedia("no_video.mp4")),
              StatusIs(kInvalid, HasSubstr("holds no video")));
  EXPECT_THAT(DecodeVideo(""), StatusIs(kInvalid, HasSubstr("video: ")));
  EXPECT_THAT(DecodeVideo("no clip"), StatusIs(kInvalid, HasSubstr("video: ")));
  EXPECT_THAT(DecodeVideo(ReadMedia("tone.mp3")), StatusIs(kInvalid, HasSubstr("known format")));
}

// Given clips over a limit, expect the error to say which, and next to no work done.
TEST(VideoFramesTest, NamesTheLimit) {
  absl::Status status;
  double seconds = 0;
  const int64_t growth = PeakMemoryGrowthBytes(
      [&] { seconds = CpuSeconds([&] { status = DecodeVideo(ReadMedia("5k.mp4")).status(); }); });
  EXPECT_THAT(status,
              StatusIs(kInvalid, HasSubstr("5120 x 2880 pixels a frame is over the limit")));
  EXPECT_LT(seconds, 0.05);
  EXPECT_LT(growth, 10 * kMegabyte);

  const std::string file = ReadMedia("sixty_seconds.mp4");
  const auto refused = [&](const VideoLimits& limits) { return DecodeVideo(file, limits); };
  EXPECT_THAT(refused({.bytes_max = 100}), StatusIs(kInvalid, HasSubstr("limit of 100")));
  EXPECT_THAT(refused({.frames_max = 119}),
              StatusIs(kInvalid, HasSubstr("frames than the limit of 119")));
  EXPECT_THAT(refused({.cpu_ms_max = 0}), StatusIs(kInvalid, HasSubstr("processor time")));
  EXPECT_THAT(refused({.total_pixels_max = int64_t{120} * 1024 - 1}),
              StatusIs(kInvalid, HasSubstr("120 frames of 32 x 32 pixels are over the limit")));
  EXPECT_OK(refused({.frames_max = 120, .total_pixels_max = int64_t{120} * 1024}));
}

// Given each container cut at every sixteenth and with bytes changed, expect an error or frames of
// one size, in little time.
TEST(VideoFramesTest, SurvivesDamage) {
  constexpr uint32_t kSeed = 20263;
  constexpr int kFlips = 30;
  int clips = 0;
  int errors = 0;
  for (const char* name :
       {"h264.mp4", "hevc.mp4", "vp8.webm", "vp9.webm", "av1.mkv", "mpeg4.avi", "mjpeg.mov"}) {
    const auto copies = DamagedCopies(ReadMedia(name), kFlips, kSeed);
    for (size_t i = 0; i < copies.size(); ++i) {
      SCOPED_TRACE(absl::StrCat(name, " copy ", i, " seed ", kSeed));
      absl::StatusOr<std::vector<VideoFrame>> frames;
      EXPECT_LT(CpuSeconds([&] { frames = DecodeVideo(copies[i]); }), 1.0);
      ++(frames.ok() ? clips : errors);
      if (!frames.ok()) {
        EXPECT_THAT(frames.status(), StatusIs(kInvalid, HasSubstr("video: ")));
        continue;
      }
      ASSERT_FALSE(frames->empty());
      for (const VideoFrame& frame : *frames) {
        EXPECT_EQ(frame.patches.values.size(), frames->front().patches.values.size());
      }
    }
  }
  EXPECT_GT(clips, 0);
  EXPECT_GT(errors, 0);
}

}  // namespace
}  // namespace facet
