#include "worker/page_wire.h"

#include <set>

#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace facet {
namespace {

using ::facet::testing::StatusIs;
using ::testing::HasSubstr;

PageKey Key(uint8_t first) {
  PageKey key = {};
  key[0] = first;
  return key;
}

// Given pages of both pools, expect the other side to read the same.
TEST(PageWireTest, ReadsWhatWasAskedFor) {
  const std::vector<PoolKey> pages = {
      {KvPool::kFull, Key(1)}, {KvPool::kFull, Key(2)}, {KvPool::kSliding, Key(1)}};
  const v1::PullPagesRequest request = MakePullRequest("label", pages);
  EXPECT_EQ(request.label(), "label");
  ASSERT_OK_AND_ASSIGN(const std::vector<PoolKey> read, ParsePullRequest(request));
  EXPECT_EQ(read, pages);
}

// Given what is no request, expect an error that names the field.
TEST(PageWireTest, RefusesWhatIsNoRequest) {
  const auto expect_refused = [](int full_bytes, int sliding_bytes, const char* why) {
    v1::PullPagesRequest request;
    request.set_full_keys(std::string(full_bytes, 'k'));
    request.set_sliding_keys(std::string(sliding_bytes, 'k'));
    EXPECT_THAT(ParsePullRequest(request).status(),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(why)));
  };
  expect_refused(17, 16, "full_keys has 17 bytes");
  expect_refused(16, 8, "sliding_keys has 8 bytes");
  expect_refused(0, 0, "are empty");
  expect_refused(16 * kPullPagesMax, 16, "name 8193 pages, the most is 8192");
}

// Given pieces that differ in one of what the digest stands for, expect other digests.
TEST(PageWireTest, DigestsTellPiecesApart) {
  const std::set<std::string> digests = {
      DigestOfPiece({KvPool::kFull, Key(1)}, 0, "piece"),
      DigestOfPiece({KvPool::kSliding, Key(1)}, 0, "piece"),
      DigestOfPiece({KvPool::kFull, Key(2)}, 0, "piece"),
      DigestOfPiece({KvPool::kFull, Key(1)}, 1 << 19, "piece"),
      DigestOfPiece({KvPool::kFull, Key(1)}, 0, "Piece"),
  };
  EXPECT_EQ(digests.size(), 5u);
}

}  // namespace
}  // namespace facet
