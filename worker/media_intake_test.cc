#include "worker/media_intake.h"

#include <string>

#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/page_key.h"
#include "worker/media_item.h"

namespace facet {
namespace {

using facet::testing::StatusIs;
using ::testing::HasSubstr;

constexpr uint64_t kStream = 7;

std::string SoundBytes() { return std::string(3 * kFrameSamples * 2, 'x'); }

// A request with a sound of three frames and one of which the data are there.
v1::GenerateRequest Request() {
  v1::GenerateRequest request;
  for (int i = 0; i < 2; ++i) {
    v1::Media& sound = *request.add_media();
    sound.set_kind(v1::Media::AUDIO);
    sound.set_tokens(3);
    const MediaDigest digest = DigestOfMedia(v1::Media::AUDIO, 0, SoundBytes());
    sound.set_digest(std::string(digest.begin(), digest.end()));
  }
  request.mutable_media(1)->set_data(SoundBytes());
  return request;
}

v1::SessionRequest::MediaChunk Chunk(const std::string& data, bool last, uint32_t media = 0) {
  v1::SessionRequest::MediaChunk chunk;
  chunk.set_stream_id(kStream);
  chunk.set_media(media);
  chunk.set_data(data);
  chunk.set_last(last);
  return chunk;
}

class MediaIntakeTest : public ::testing::Test {
 protected:
  MediaIntakeTest() { intake_.Expect(kStream, Request()); }

  void ExpectFault(const v1::SessionRequest::MediaChunk& chunk, const std::string& what) {
    const auto item = intake_.Add(chunk);
    ASSERT_TRUE(item.has_value());
    EXPECT_THAT(item->data, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(what)));
    // The stream has ended with it.
    EXPECT_FALSE(intake_.Add(Chunk("x", true)).has_value());
  }

  MediaIntake intake_;
};

// Given an item in three pieces, expect it whole after the last.
TEST_F(MediaIntakeTest, PutsPiecesTogether) {
  const std::string bytes = SoundBytes();
  EXPECT_FALSE(intake_.Add(Chunk(bytes.substr(0, 1000), false)).has_value());
  EXPECT_FALSE(intake_.Add(Chunk(bytes.substr(1000, 2000), false)).has_value());
  const auto item = intake_.Add(Chunk(bytes.substr(3000), true));
  ASSERT_TRUE(item.has_value());
  EXPECT_EQ(item->index, 0);
  ASSERT_OK(item->data);
  EXPECT_EQ(*item->data, bytes);
}

// Given pieces of streams that are not known, or that have ended, expect nothing.
TEST_F(MediaIntakeTest, IgnoresStreamsThatItDoesNotKnow) {
  v1::SessionRequest::MediaChunk chunk = Chunk("x", true);
  chunk.set_stream_id(8);
  EXPECT_FALSE(intake_.Add(chunk).has_value());
  intake_.Forget(kStream);
  EXPECT_FALSE(intake_.Add(Chunk("x", true)).has_value());
}

// Given each way to send what the request did not say, expect an error that names the field.
TEST_F(MediaIntakeTest, TooShort) {
  ExpectFault(Chunk("short", true), "media[0].data has 5 bytes");
}
TEST_F(MediaIntakeTest, TooLong) {
  ExpectFault(Chunk(SoundBytes() + "y", false), "media[0].data has more than its 3840 bytes");
}
TEST_F(MediaIntakeTest, OtherBytes) {
  ExpectFault(Chunk(std::string(SoundBytes().size(), 'y'), true), "media[0].digest");
}
TEST_F(MediaIntakeTest, NoSuchItem) { ExpectFault(Chunk("x", false, 2), "media_chunk.media is 2"); }
TEST_F(MediaIntakeTest, MixedItems) {
  EXPECT_FALSE(intake_.Add(Chunk("x", false)).has_value());
  ExpectFault(Chunk("x", false, 1), "media[0].data ends after 1 bytes");
}

}  // namespace
}  // namespace facet
