#include "worker/host_tier.h"

#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace facet {
namespace {

using ::facet::testing::StatusIs;
using ::testing::HasSubstr;

constexpr KvPlan kPlan = {/*full_pages=*/40, /*sliding_pages=*/10, /*full_page_bytes=*/1000,
                          /*sliding_page_bytes=*/6000, /*context_tokens_max=*/2560};

// Given twice the device's memory, expect twice its pages in each pool, all within the bound, and
// each slot with memory of its own.
TEST(HostTierTest, SplitsItsMemoryAsTheDeviceDoes) {
  auto tier = HostTier::Make(kPlan, 128, 2 * kPlan.bytes());
  ASSERT_OK(tier);
  EXPECT_EQ((*tier)->slots().page_count(KvPool::kFull), 80);
  EXPECT_EQ((*tier)->slots().page_count(KvPool::kSliding), 20);
  for (const KvPool pool : {KvPool::kFull, KvPool::kSliding}) {
    for (int32_t slot = 0; slot < (*tier)->slots().page_count(pool); ++slot) {
      std::fill_n((*tier)->memory(pool, slot), (*tier)->page_bytes(pool),
                  static_cast<uint8_t>(slot));
    }
    for (int32_t slot = 0; slot < (*tier)->slots().page_count(pool); ++slot) {
      EXPECT_EQ((*tier)->memory(pool, slot)[0], slot);
      EXPECT_EQ((*tier)->memory(pool, slot)[(*tier)->page_bytes(pool) - 1], slot);
    }
  }
}

// Given little memory, expect a window of sliding pages before anything else, and below that to
// hear how much it takes.
TEST(HostTierTest, HoldsAWindowAtLeast) {
  EXPECT_THAT(HostTier::Make(kPlan, 128, 12'999),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("need 13000")));
  for (const int64_t bytes : {13'000, 15'500, 20'000}) {
    auto tier = HostTier::Make(kPlan, 128, bytes);
    ASSERT_OK(tier);
    const PrefixCache& slots = (*tier)->slots();
    EXPECT_EQ(slots.page_count(KvPool::kSliding), 2);
    EXPECT_GE(slots.page_count(KvPool::kFull), 1);
    EXPECT_LE(2 * 6000 + slots.page_count(KvPool::kFull) * 1000, bytes);
  }
}

}  // namespace
}  // namespace facet
