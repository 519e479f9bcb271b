#include "model/media/media_digest.h"

#include <set>
#include <string>

#include "absl/strings/escaping.h"
#include "gtest/gtest.h"
#include "model/media/testing/test_media.h"

namespace facet {
namespace {

using ::facet::testing::Sha256Hex;

std::string Hex(const MediaDigest& digest) {
  return absl::BytesToHexString({reinterpret_cast<const char*>(digest.data()), digest.size()});
}

ImagePatches Patches(int width, int height, uint8_t value) {
  return {width, height, std::vector<uint8_t>(size_t{kPatchValues} * width * height, value)};
}

// Given a picture and a sound, expect SHA-256 of just the bytes that the header names: a change of
// them would part routers and workers of two versions.
TEST(MediaDigestTest, HashesKindGridAndValues) {
  const std::string image = std::string("\1\0\0\0\2\0\0\0\1\0\0\0", 12) + std::string(13'824, '\7');
  EXPECT_EQ(Hex(DigestPatches(MediaKind::kImage, Patches(2, 1, 7))), Sha256Hex(image));
  const float samples[] = {0.5F};
  const std::string audio = std::string("\2\0\0\0\1\0\0\0\1\0\0\0", 12) +
                            std::string("\0\0\0\x3f", 4) + std::string(2'556, '\0');
  EXPECT_EQ(Hex(DigestAudio(CutAudioFrames(samples))), Sha256Hex(audio));
}

// Given media that differ in one thing each, expect different digests; given equal ones, the same.
TEST(MediaDigestTest, TellsMediaApart) {
  ImagePatches one_byte = Patches(2, 3, 0);
  one_byte.values.back() = 1;
  std::set<std::string> digests = {
      Hex(DigestPatches(MediaKind::kImage, Patches(2, 3, 0))),
      Hex(DigestPatches(MediaKind::kImage, Patches(3, 2, 0))),
      Hex(DigestPatches(MediaKind::kImage, Patches(6, 1, 0))),
      Hex(DigestPatches(MediaKind::kVideoFrame, Patches(2, 3, 0))),
      Hex(DigestPatches(MediaKind::kImage, one_byte)),
  };
  EXPECT_EQ(digests.size(), 5U);
  EXPECT_TRUE(digests.contains(Hex(DigestPatches(MediaKind::kImage, Patches(2, 3, 0)))));
}

}  // namespace
}  // namespace facet
