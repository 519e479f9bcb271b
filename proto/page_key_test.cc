#include "proto/page_key.h"

#include <set>
#include <vector>

#include "absl/strings/escaping.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace facet {
namespace {

std::string Hex(const PageKey& key) {
  return absl::BytesToHexString(
      absl::string_view(reinterpret_cast<const char*>(key.data()), key.size()));
}

// Keys are a contract between processes and with disks: these were computed by Python's hashlib,
//   sha256(b"facet page key" + pack("<II", 1, 0))[:16] and sha256(root + pack("<3i", 2, 300,
//   -1))[:16].
TEST(PageKeyTest, MatchesHashlib) {
  const PageKey root = RootPageKey("");
  EXPECT_EQ(Hex(root), "b6e43ea95e82d34667f01956238ac927");
  EXPECT_EQ(Hex(NextPageKey(root, {2, 300, -1})), "5a7c1cd1767504fe0090c6d97f3a9062");
}

// sha256(b"facet media" + pack("<II", 1, 2) + sha256(b"abcdef"))[:16], and then sha256(root +
// pack("<3i", 2, 300, -1) + pack("<i", place in the page) + digest)[:16].
TEST(PageKeyTest, MediaMatchesHashlib) {
  const MediaDigest digest = DigestOfMedia(1, 2, "abcdef");
  EXPECT_EQ(Hex(digest), "8fe5ac238395afba6d9f7903ab588624");
  const PageKey root = RootPageKey("");
  EXPECT_EQ(Hex(NextPageKey(root, {2, 300, -1}, 100, {{101, 2, digest}})),
            "512ff35c8344f3ee5f98490f5b17f6e7");
  EXPECT_EQ(Hex(NextPageKey(root, {2, 300, -1}, 100, {{98, 4, digest}})),
            "6ac2ad6e6a2f4a9ea31d0832bd11e1cd");
}

// Given media before or after the page, expect the key of text alone; within it, a key that depends
// on kind, grid, bytes and place.
TEST(PageKeyTest, MediaCountWhereTheyStand) {
  const PageKey root = RootPageKey("");
  const MediaDigest digest = DigestOfMedia(1, 2, "abcdef");
  const auto key = [&](std::vector<MediaSpan> media) {
    return Hex(NextPageKey(root, {2, 300, -1}, 100, media));
  };
  const std::string plain = Hex(NextPageKey(root, {2, 300, -1}));
  EXPECT_EQ(key({{90, 10, digest}, {103, 5, digest}}), plain);
  std::set<std::string> keys = {plain,
                                key({{90, 11, digest}}),
                                key({{102, 9, digest}}),
                                key({{101, 2, digest}}),
                                key({{101, 2, DigestOfMedia(2, 2, "abcdef")}}),
                                key({{101, 2, DigestOfMedia(1, 3, "abcdef")}}),
                                key({{101, 2, DigestOfMedia(1, 2, "abcdeg")}})};
  EXPECT_EQ(keys.size(), 7u);
}

// sha256(b"facet page key" + pack("<II", 1, 4) + b"salt" + bytes(range(32)))[:16]
TEST(PageKeyTest, AdapterMatchesHashlib) {
  std::string digest;
  for (int i = 0; i < 32; ++i) digest.push_back(static_cast<char>(i));
  EXPECT_EQ(Hex(RootPageKey("salt", digest)), "c0e2eb41306e0c078e54deb993d14b33");
  EXPECT_NE(RootPageKey("", digest), RootPageKey(digest));
}

// Given another salt, history, order or length, expect another key.
TEST(PageKeyTest, DependsOnAllItCovers) {
  std::set<std::string> keys;
  const std::vector<int32_t> tokens = {1, 2, 3}, swapped = {2, 1, 3}, shorter = {1, 2};
  for (const char* salt : {"", "a", "ab"}) {
    const PageKey root = RootPageKey(salt);
    keys.insert(Hex(root));
    for (const auto& page : {tokens, swapped, shorter}) {
      keys.insert(Hex(NextPageKey(root, page)));
      keys.insert(Hex(NextPageKey(NextPageKey(root, page), tokens)));
    }
  }
  EXPECT_EQ(keys.size(), 3 * 7);
}

}  // namespace
}  // namespace facet
