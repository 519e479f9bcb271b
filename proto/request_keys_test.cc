#include "proto/request_keys.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace facet {
namespace {

using ::testing::ElementsAre;

v1::GenerateRequest Request(int prompt_tokens) {
  v1::GenerateRequest request;
  for (int i = 0; i < prompt_tokens; ++i) request.add_prompt_tokens(i);
  return request;
}

// Given a prompt of two pages and a half, expect two keys, the chain that NextPageKey makes.
TEST(RequestKeysTest, OfWholePages) {
  const PageKey first = NextPageKey(RootPageKey(""), {0, 1, 2, 3}, 0);
  const PageKey second = NextPageKey(first, {4, 5, 6, 7}, 4);
  EXPECT_THAT(RequestPageKeys(Request(10), 4), ElementsAre(first, second));
  EXPECT_THAT(RequestPageKeys(Request(3), 4), ElementsAre());
}

// Given tokens to go on from, expect the keys of a prompt that has them at its end.
TEST(RequestKeysTest, CountTheTokensToGoOnFrom) {
  v1::GenerateRequest request = Request(10);
  request.add_resume_from(10);
  request.add_resume_from(11);
  EXPECT_EQ(RequestPageKeys(request, 4), RequestPageKeys(Request(12), 4));
}

// Given salt or a picture, expect other keys; of a picture, the same ones by its digest and by its
// bytes.
TEST(RequestKeysTest, HoldSaltAndMedia) {
  const std::vector<PageKey> plain = RequestPageKeys(Request(8), 4);
  v1::GenerateRequest request = Request(8);
  request.set_cache_salt("tenant");
  EXPECT_NE(RequestPageKeys(request, 4)[0], plain[0]);

  request = Request(8);
  v1::Media& media = *request.add_media();
  media.set_kind(v1::Media::AUDIO);
  media.set_first_token(5);
  media.set_tokens(1);
  media.set_data("sound");
  const std::vector<PageKey> by_bytes = RequestPageKeys(request, 4);
  EXPECT_EQ(by_bytes[0], plain[0]);
  EXPECT_NE(by_bytes[1], plain[1]);
  const MediaDigest digest = DigestOfMedia(v1::Media::AUDIO, 0, "sound");
  media.clear_data();
  media.set_digest(std::string(digest.begin(), digest.end()));
  EXPECT_EQ(RequestPageKeys(request, 4), by_bytes);
}

}  // namespace
}  // namespace facet
