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
