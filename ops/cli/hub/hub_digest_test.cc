#include "ops/cli/hub/hub_digest.h"

#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace facet {
namespace {

using ::facet::testing::StatusIs;
using ::testing::HasSubstr;

// Given a text with the digests that `sha256sum` and `git hash-object` print, expect both to hold.
TEST(HubDigestTest, KnowsBothKinds) {
  HubFile large = {"a", 6, "", ""}, small = large;
  large.sha256 = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
  small.git_sha1 = "ce013625030ba8dba906f756967f9e9ca394464a";
  for (const HubFile& file : {large, small}) {
    HubDigest digest(file);
    digest.Add("hel");
    digest.Add("lo\n");
    EXPECT_OK(digest.Check());
  }
}

// Given other bytes, expect an error with the file and both digests.
TEST(HubDigestTest, RefusesOtherBytes) {
  HubDigest digest({"model.safetensors", 6, std::string(64, 'a'), ""});
  digest.Add("hello\n");
  EXPECT_THAT(digest.Check(),
              StatusIs(absl::StatusCode::kDataLoss,
                       AllOf(HasSubstr("model.safetensors"), HasSubstr("SHA-256 5891b5b5"),
                             HasSubstr(std::string(64, 'a')))));
}

}  // namespace
}  // namespace facet
