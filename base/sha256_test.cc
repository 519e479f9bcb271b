#include "base/sha256.h"

#include "absl/strings/escaping.h"
#include "gtest/gtest.h"

namespace facet {
namespace {

// Given the examples of FIPS 180-4's authors, whole and in parts, expect their digests.
TEST(Sha256Test, GivesTheStandardsDigests) {
  const char* const abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
  EXPECT_EQ(absl::BytesToHexString(Sha256({"abc"})), abc);
  EXPECT_EQ(absl::BytesToHexString(Sha256({"a", "", "bc"})), abc);
  EXPECT_EQ(absl::BytesToHexString(Sha256({})),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  for (int again = 0; again < 2; ++again) {
    const auto digest = Sha256Of("abc");
    EXPECT_EQ(absl::BytesToHexString(std::string(digest.begin(), digest.end())), abc);
  }
}

}  // namespace
}  // namespace facet
