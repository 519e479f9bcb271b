#include "model/media/mp4_tables.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/media/testing/test_media.h"

namespace facet {
namespace {

using ::facet::testing::ReadMedia;
using ::facet::testing::StatusIs;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

std::string Number(uint32_t number) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes.push_back(static_cast<char>(number >> shift));
  return bytes;
}

std::string Box(absl::string_view type, absl::string_view data) {
  return absl::StrCat(Number(static_cast<uint32_t>(8 + data.size())), type, data);
}

std::string SizeTable(uint32_t samples) {
  return Box("stsz", absl::StrCat(Number(0), Number(1), Number(samples)));
}

// Given files that encoders write, expect them taken.
TEST(Mp4TablesTest, TakesWhatEncodersWrite) {
  for (const char* name : {"h264.mp4", "h264.mov", "mjpeg.mov", "tone_aac.m4a", "tone_alac.m4a"}) {
    EXPECT_OK(CheckMp4Tables(ReadMedia(name))) << name;
  }
  EXPECT_OK(CheckMp4Tables(""));
}

// Given claims of more samples than there may be, in one table or in many, wherever they stand,
// expect them refused; given the same bytes among the samples themselves, expect them taken.
TEST(Mp4TablesTest, AddsUpClaims) {
  EXPECT_OK(CheckMp4Tables(Box("moov", Box("trak", SizeTable(4'000'000)))));
  EXPECT_THAT(CheckMp4Tables(Box("moov", Box("trak", SizeTable(4'000'001)))),
              StatusIs(kInvalid, HasSubstr("claim 4000001 samples")));
  EXPECT_THAT(CheckMp4Tables(Box("moov", absl::StrCat(SizeTable(3'000'000), SizeTable(3'000'000)))),
              StatusIs(kInvalid, HasSubstr("claim 6000000 samples")));
  const std::string run = Box("trun", absl::StrCat(Number(0), Number(5'000'000)));
  EXPECT_THAT(CheckMp4Tables(absl::StrCat(Box("ftyp", "isom"), Box("moof", run))),
              StatusIs(kInvalid, HasSubstr("claim 5000000 samples")));
  EXPECT_THAT(CheckMp4Tables(absl::StrCat(Number(0), "moov", SizeTable(5'000'000))),
              StatusIs(kInvalid, HasSubstr("claim")));
  EXPECT_THAT(CheckMp4Tables(Box("moov", Box("cmov", ""))),
              StatusIs(kInvalid, HasSubstr("compressed")));
  EXPECT_OK(CheckMp4Tables(Box("mdat", SizeTable(4'000'001))));
}

}  // namespace
}  // namespace facet
