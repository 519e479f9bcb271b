#include "router/media/media_decoder.h"

#include <cstring>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/media/testing/test_media.h"
#include "router/api/api_error.h"

namespace facet {
namespace {

using ::facet::testing::ReadGolden;
using ::facet::testing::ReadMedia;
using ::facet::testing::StatusIs;
using ::testing::HasSubstr;
using Kind = MediaPart::Kind;

v1::MediaSupport Support(uint32_t image_tokens_max = 1120) {
  v1::MediaSupport support;
  support.set_images(true);
  support.set_sounds(true);
  support.set_image_tokens_max(image_tokens_max);
  return support;
}

MediaPart Part(Kind kind, const std::string& file) {
  MediaPart part;
  part.kind = kind;
  part.param = "messages[0].content[0]";
  part.base64 = absl::Base64Escape(file);
  return part;
}

// Given budgets, asked for and by name, and models that take less, expect the greatest that both
// allow, or an error that says the model's limit where the client named more.
TEST(MediaDecoderTest, BudgetsAreTheSmallerOfTwo) {
  const struct {
    int asked;
    bool named;
    uint32_t model;
    int tokens;  // 0: an error
  } kCases[] = {{70, false, 1120, 63},    {280, false, 1120, 266}, {1120, false, 1120, 1064},
                {280, false, 70, 63},     {1120, false, 300, 266}, {280, true, 280, 266},
                {1120, true, 1120, 1064}, {280, true, 70, 0},      {70, false, 69, 0}};
  for (const auto& c : kCases) {
    // 320 x 240 pixels.
    MediaPart part = Part(Kind::kImage, ReadGolden("media/image5.png"));
    part.image_tokens_max = c.asked;
    part.image_tokens_named = c.named;
    const auto media = DecodeMedia(part, Support(c.model));
    const std::string what = absl::StrCat(c.asked, " of ", c.model);
    if (c.tokens == 0) {
      EXPECT_FALSE(media.ok()) << what;
      EXPECT_EQ(ParamOf(media.status()), part.param);
      continue;
    }
    ASSERT_OK(media) << what;
    ASSERT_EQ(media->tensors.size(), 1u);
    const v1::Media& head = media->tensors[0].head;
    EXPECT_LE(static_cast<int>(head.tokens()), c.asked) << what;
    EXPECT_EQ(static_cast<int>(head.tokens()), c.tokens) << what;
    EXPECT_EQ(media->tensors[0].data.size(), head.tokens() * 6912) << what;
    EXPECT_LE(static_cast<int64_t>(media->tensors[0].data.size()), DecodedBytesMax(part)) << what;
    EXPECT_EQ(head.digest().size(), 16u);
  }
  MediaPart part = Part(Kind::kImage, ReadGolden("media/image5.png"));
  part.image_tokens_named = true;
  EXPECT_THAT(DecodeMedia(part, Support(70)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("70 tokens at most")));
}

// Given sounds, expect 16-bit samples where they are exact, floats elsewhere.
TEST(MediaDecoderTest, SoundsAreInt16WhereThatIsExact) {
  ASSERT_OK_AND_ASSIGN(const DecodedMedia exact,
                       DecodeMedia(Part(Kind::kAudio, ReadGolden("media/sound0.wav")), Support()));
  const std::string wav = ReadGolden("media/sound0.wav");
  EXPECT_EQ(exact.tensors[0].head.sample_type(), v1::Media::INT16);
  EXPECT_EQ(exact.tensors[0].head.tokens(), 33u);
  EXPECT_EQ(exact.tensors[0].data.size(), 33u * 640 * 2);
  // The file's own samples, after its header.
  EXPECT_EQ(exact.tensors[0].data.substr(0, 20800 * 2), wav.substr(wav.size() - 20800 * 2));
  ASSERT_OK_AND_ASSIGN(const DecodedMedia mp3,
                       DecodeMedia(Part(Kind::kAudio, ReadMedia("tone.mp3")), Support()));
  EXPECT_EQ(mp3.tensors[0].head.sample_type(), v1::Media::FLOAT32);
  EXPECT_EQ(mp3.tensors[0].data.size(), mp3.tensors[0].head.tokens() * 640 * 4);
}

// Given a clip, expect a tensor and a timestamp for each frame.
TEST(MediaDecoderTest, ClipsAreFrames) {
  ASSERT_OK_AND_ASSIGN(
      const DecodedMedia clip,
      DecodeMedia(Part(Kind::kVideo, ReadMedia("sixty_seconds.mp4")), Support(70)));
  EXPECT_EQ(clip.tensors.size(), 60u);
  EXPECT_EQ(clip.timestamps.size(), 60u);
  EXPECT_EQ(clip.timestamps.back(), "00:59");
}

// Given what is no file of its kind, or what the model does not take, expect an error that names
// the part's field.
TEST(MediaDecoderTest, ErrorsNameTheField) {
  v1::MediaSupport text_only, images_only = Support();
  images_only.set_sounds(false);
  MediaPart not_base64 = Part(Kind::kImage, "");
  not_base64.base64 = "a%b";
  const struct {
    MediaPart part;
    v1::MediaSupport support;
    const char* what;
  } kCases[] = {
      {not_base64, Support(), "not base64"},
      {Part(Kind::kImage, "text"), Support(), "image"},
      {Part(Kind::kImage, ReadMedia("tone.mp3")), Support(), "image"},
      {Part(Kind::kAudio, ReadMedia("rgb.png")), Support(), "audio"},
      {Part(Kind::kAudio, ReadMedia("five_hours.flac")), Support(), "30 s"},
      {Part(Kind::kVideo, ReadMedia("rgb.png")), Support(), "video"},
      {Part(Kind::kImage, ReadMedia("rgb.png")), text_only, "takes no image"},
      {Part(Kind::kVideo, ReadMedia("h264.mp4")), text_only, "takes no video"},
      {Part(Kind::kAudio, ReadMedia("tone.mp3")), images_only, "takes no audio"},
      {Part(Kind::kImage, testing::MakePng(100'000, 100'000, 2, "")), Support(), "image"},
      {Part(Kind::kImage, testing::MakePng(8'000, 8'000, 2, testing::CompressedZeros(1 << 20))),
       Support(), "PNG"},
  };
  for (const auto& c : kCases) {
    const auto media = DecodeMedia(c.part, c.support);
    EXPECT_THAT(media, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(c.what)));
    EXPECT_EQ(ParamOf(media.status()), c.part.param) << media.status();
  }
}

}  // namespace
}  // namespace facet
