#include "model/media/image_decoder.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/media/testing/test_media.h"

namespace facet {
namespace {

using ::facet::testing::AddPngChunk;
using ::facet::testing::CompressedZeros;
using ::facet::testing::CpuSeconds;
using ::facet::testing::DamagedCopies;
using ::facet::testing::MakePng;
using ::facet::testing::PeakMemoryGrowthBytes;
using ::facet::testing::ReadMedia;
using ::facet::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr int64_t kMegabyte = 1'000'000;

// A zlib stream of 200 kB that inflates to 200 MB.
const std::string& Bomb() {
  static const auto* bomb = new std::string(CompressedZeros(200 * kMegabyte));
  return *bomb;
}

constexpr char kGrayColor = 0;
constexpr char kRgbColor = 2;

RgbImage Decode(absl::string_view name) {
  const auto image = DecodeImage(ReadMedia(name));
  EXPECT_OK(image);
  return image.value_or(RgbImage{});
}

// How far the picture is from what the reference's decoder makes of the file.
struct Difference {
  int most = 0;
  double mean = 0;
};

Difference FromExpected(absl::string_view name) {
  const RgbImage ours = Decode(name);
  const RgbImage expected = Decode(absl::StrCat("expected/", name, ".png"));
  EXPECT_EQ(ours.width, expected.width);
  EXPECT_EQ(ours.height, expected.height);
  Difference difference;
  for (size_t i = 0; i < std::min(ours.rgb.size(), expected.rgb.size()); ++i) {
    const int one = std::abs(ours.rgb[i] - expected.rgb[i]);
    difference.most = std::max(difference.most, one);
    difference.mean += one / static_cast<double>(ours.rgb.size());
  }
  return difference;
}

// Given pictures in forms without loss, expect just the reference's pixels: depths, palettes,
// interlacing, alpha on white, and a GIF's first picture.
TEST(ImageDecoderTest, IsExactWhereTheFormatIs) {
  for (const char* name : {"rgb.png", "rgb.bmp", "rgb.gif", "lossless.webp", "alpha.webp",
                           "alpha.png", "gray_alpha.png", "gray.png", "bilevel.png", "bilevel.bmp",
                           "palette.png", "palette_transparent.png", "transparent.gif",
                           "rgb_key.png", "animated.gif", "interlaced.png", "rgb16.png"}) {
    SCOPED_TRACE(name);
    EXPECT_EQ(FromExpected(name).most, 0);
  }
}

// Given BMP's 5 and 6 bit samples, expect them spread over 0 to 255, a level or so apart from the
// reference, which rounds otherwise.
TEST(ImageDecoderTest, SpreadsNarrowSamples) { EXPECT_LE(FromExpected("rgb565.bmp").most, 1); }

// Given JPEG pictures with chroma at each size, expect the reference's pixels but for the rounding
// of cosines.
TEST(ImageDecoderTest, DecodesJpegAsTheReference) {
  for (const char* name : {"rgb.jpg", "full_chroma.jpg", "half_width.jpg", "odd_sides.jpg",
                           "progressive.jpg", "gray.jpg"}) {
    SCOPED_TRACE(name);
    const Difference difference = FromExpected(name);
    EXPECT_LE(difference.most, 4);
    EXPECT_LE(difference.mean, 0.1);
    RecordProperty(name, absl::StrCat("most ", difference.most, ", mean ", difference.mean));
  }
}

// Given pictures whose chroma is enlarged, or whose ink is turned to light, otherwise than in the
// reference, expect what two good decoders differ by.
TEST(ImageDecoderTest, IsCloseWhereTheFormatIsLossy) {
  for (const char* name : {"cmyk.jpg", "rgb.webp", "alpha_lossy.webp"}) {
    SCOPED_TRACE(name);
    const Difference difference = FromExpected(name);
    EXPECT_LE(difference.mean, 2.0);
    RecordProperty(name, absl::StrCat("most ", difference.most, ", mean ", difference.mean));
  }
}

// Given the same stored pixels under each orientation, expect the picture turned as the reference
// turns it.
TEST(ImageDecoderTest, TurnsByExifOrientation) {
  for (int orientation = 1; orientation <= 8; ++orientation) {
    SCOPED_TRACE(orientation);
    EXPECT_LE(FromExpected(absl::StrCat("orientation_", orientation, ".jpg")).mean, 0.1);
  }
  EXPECT_LE(FromExpected("orientation_6.webp").mean, 2.0);
}

// Given what is no picture, expect an error that says so.
TEST(ImageDecoderTest, RefusesOtherBytes) {
  for (const absl::string_view file :
       {absl::string_view(""), absl::string_view("not a picture"), absl::string_view("GIF89a"),
        absl::string_view("\xff\xd8\xff"), absl::string_view("BM"),
        absl::string_view("RIFF....WEBPVP8 "), absl::string_view("\x89PNG\r\n\x1a\n")}) {
    EXPECT_THAT(DecodeImage(file), StatusIs(kInvalid, HasSubstr("image: ")));
  }
  EXPECT_THAT(DecodeImage(ReadMedia("animated.webp")), StatusIs(kInvalid, HasSubstr("animated")));
  EXPECT_THAT(DecodeImage(ReadMedia("h264.mp4")), StatusIs(kInvalid, HasSubstr("none of PNG")));
}

// Given pictures over a limit, expect the error to say which.
TEST(ImageDecoderTest, NamesTheLimit) {
  const std::string file = ReadMedia("rgb.png");
  const auto refused = [&](const ImageLimits& limits) { return DecodeImage(file, limits); };
  EXPECT_THAT(refused({.bytes_max = 100}),
              StatusIs(kInvalid, HasSubstr("bytes is over the limit of 100")));
  EXPECT_THAT(refused({.pixels_max = int64_t{64} * 48 - 1}),
              StatusIs(kInvalid, AllOf(HasSubstr("64 x 48"), HasSubstr("limit of 3071"))));
  EXPECT_THAT(refused({.side_max = 63}), StatusIs(kInvalid, HasSubstr("limit of 63 a side")));
  EXPECT_OK(refused({.pixels_max = int64_t{64} * 48, .side_max = 64}));
  EXPECT_THAT(DecodeImage(ReadMedia("progressive.jpg"), {.scanned_pixels_max = int64_t{64} * 48}),
              StatusIs(kInvalid, HasSubstr("scans is over the limit")));
}

// Given a file of a kilobyte that claims 100,000 x 100,000 pixels, expect it refused from its
// header: no memory, no time.
TEST(ImageDecoderBombTest, RefusesHugeSidesFromTheHeader) {
  const std::string file = MakePng(100'000, 100'000, kGrayColor, CompressedZeros(kMegabyte));
  absl::Status status;
  double seconds = 0;
  const int64_t growth = PeakMemoryGrowthBytes(
      [&] { seconds = CpuSeconds([&] { status = DecodeImage(file).status(); }); });
  EXPECT_THAT(status, StatusIs(kInvalid, HasSubstr("100000 x 100000 pixels is over the limit")));
  EXPECT_LT(seconds, 0.01);
  EXPECT_LT(growth, kMegabyte);
}

// Given sides at the limit, or just too many pixels, in each format that states them in its header,
// expect the refusal before any decoding.
TEST(ImageDecoderBombTest, RefusesHugeSidesInEachFormat) {
  std::string gif = ReadMedia("rgb.gif");
  std::string bmp = ReadMedia("rgb.bmp");
  std::string jpeg = ReadMedia("rgb.jpg");
  for (size_t i = 6; i < 10; ++i) gif[i] = '\xff';
  for (const size_t i : {18, 19, 22, 23}) bmp[i] = '\xff';
  const size_t frame = jpeg.find("\xff\xc0");
  ASSERT_NE(frame, std::string::npos);
  for (size_t i = frame + 5; i < frame + 9; ++i) jpeg[i] = '\xff';
  for (const std::string& file : {gif, bmp, jpeg}) {
    EXPECT_THAT(DecodeImage(file), StatusIs(kInvalid, HasSubstr("65535 x 65535 pixels")));
  }
}

// Given a text or a profile of 200 MB in a chunk that no pixel needs, expect it left alone.
TEST(ImageDecoderBombTest, LeavesTextsInAPngAlone) {
  const std::string picture = ReadMedia("rgb.png");
  for (const char* type : {"zTXt", "iCCP"}) {
    const std::string file =
        AddPngChunk(picture, type, absl::StrCat("name", std::string(2, '\0'), Bomb()));
    double seconds = 0;
    const int64_t growth =
        PeakMemoryGrowthBytes([&] { seconds = CpuSeconds([&] { EXPECT_OK(DecodeImage(file)); }); });
    EXPECT_LT(seconds, 0.1) << type;
    EXPECT_LT(growth, 50 * kMegabyte) << type;
  }
}

// Given compressed data that goes on for 200 MB after the last pixel, expect it refused where
// the pixels end.
TEST(ImageDecoderBombTest, RefusesDataPastThePixels) {
  const std::string file = MakePng(100, 100, kGrayColor, Bomb());
  absl::Status status;
  const double seconds = CpuSeconds([&] { status = DecodeImage(file).status(); });
  EXPECT_THAT(status, StatusIs(kInvalid, HasSubstr("more data than its size")));
  EXPECT_LT(seconds, 0.1);
}

// Given the largest picture that may pass, all of one colour in a small file, expect it decoded
// within the memory that the header states.
TEST(ImageDecoderBombTest, DecodesTheLargestWithinItsMemory) {
  constexpr int kSide = 8'000;
  constexpr int64_t kPixels = int64_t{kSide} * kSide;
  const std::string file = MakePng(kSide, kSide, kRgbColor, CompressedZeros(3 * kPixels + kSide));
  EXPECT_LT(file.size(), 250'000U);
  double seconds = 0;
  const int64_t growth = PeakMemoryGrowthBytes([&] {
    seconds = CpuSeconds([&] {
      const auto image = DecodeImage(file);
      ASSERT_OK(image);
      EXPECT_EQ(image->rgb.size(), 3U * kPixels);
    });
  });
  RecordProperty("cpu_ms", static_cast<int>(seconds * 1e3));
  RecordProperty("peak_megabytes", static_cast<int>(growth / kMegabyte));
  EXPECT_LT(growth, 11 * kPixels);
}

// Given a progressive JPEG whose last scan is repeated a thousand times over 16 megapixels, expect
// the work bounded before it begins.
TEST(ImageDecoderBombTest, BoundsScansOfAJpeg) {
  std::string file = ReadMedia("progressive.jpg");
  const size_t scan = file.rfind("\xff\xda");
  const size_t end = file.rfind("\xff\xd9");
  ASSERT_TRUE(scan != std::string::npos && end > scan);
  const std::string repeated = file.substr(scan, end - scan);
  std::string bomb = file.substr(0, end);
  for (int i = 0; i < 1'000; ++i) bomb += repeated;
  bomb += "\xff\xd9";
  const size_t frame = bomb.find("\xff\xc2");
  ASSERT_NE(frame, std::string::npos);
  for (const size_t i : {frame + 5, frame + 7}) bomb[i] = '\x0f';
  absl::Status status;
  const double seconds = CpuSeconds([&] { status = DecodeImage(bomb).status(); });
  EXPECT_THAT(status, StatusIs(kInvalid, HasSubstr("scans is over the limit")));
  EXPECT_LT(seconds, 0.05);
}

// Given each format cut at every sixteenth and with bytes changed, expect an error that names the
// format or a picture, in little time and memory.
TEST(ImageDecoderTest, SurvivesDamage) {
  constexpr uint32_t kSeed = 20261;
  constexpr int kFlips = 100;
  int pictures = 0;
  int errors = 0;
  for (const char* name :
       {"rgb.png", "interlaced.png", "palette_transparent.png", "rgb.jpg", "progressive.jpg",
        "cmyk.jpg", "orientation_6.jpg", "rgb.webp", "lossless.webp", "alpha_lossy.webp", "rgb.gif",
        "animated.gif", "rgb.bmp", "rgb565.bmp"}) {
    const auto copies = DamagedCopies(ReadMedia(name), kFlips, kSeed);
    for (size_t i = 0; i < copies.size(); ++i) {
      SCOPED_TRACE(absl::StrCat(name, " copy ", i, " seed ", kSeed));
      absl::StatusOr<RgbImage> image;
      EXPECT_LT(CpuSeconds([&] { image = DecodeImage(copies[i]); }), 1.0);
      ++(image.ok() ? pictures : errors);
      if (image.ok()) {
        EXPECT_EQ(image->rgb.size(), size_t{3} * image->width * image->height);
      } else {
        EXPECT_THAT(image.status(), StatusIs(kInvalid, HasSubstr("image: ")));
      }
    }
    // Nothing that is cut short passes, but for what no pixel needs: here at most a quarter of the
    // file, and of two pictures the second.
    const size_t cuts = absl::string_view(name) == "animated.gif" ? 8 : 12;
    for (size_t i = 0; i < cuts; ++i) {
      EXPECT_FALSE(DecodeImage(copies[i]).ok()) << name << " cut " << i;
    }
  }
  EXPECT_GT(pictures, 0);
  EXPECT_GT(errors, 0);
}

}  // namespace
}  // namespace facet
