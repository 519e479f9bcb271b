#include "worker/kv_cache.h"

#include <vector>

#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/cpu/cpu_device.h"

namespace facet {
namespace {

using ::facet::testing::StatusIs;
using ::testing::HasSubstr;

// The 12B's shape: 40 sliding layers of 8 heads of 256, 8 full layers of one head of 512.
TextConfig TwelveB() {
  TextConfig config = {};
  config.context_tokens_max = 262144;
  config.sliding_window_tokens = 1024;
  for (int i = 0; i < 48; ++i) {
    config.layers.push_back(i % 6 == 5 ? LayerConfig{false, 1, 512} : LayerConfig{true, 8, 256});
  }
  return config;
}

// Given the 12B, expect the page sizes of its shape in float32.
TEST(KvPlanTest, PageBytesFollowFromTheShape) {
  const auto plan = PlanKv(TwelveB(), {int64_t{4} << 30, 0, 64, 512});
  ASSERT_OK(plan);
  EXPECT_EQ(plan->full_page_bytes, int64_t{64} * 8 * 512 * 2 * 4);
  EXPECT_EQ(plan->sliding_page_bytes, int64_t{64} * 40 * 8 * 256 * 2 * 4);
}

// Given the 12B at two bytes a value, expect the full layers to take 16,384 bytes a token in plain
// form and 10,240 in narrow form, and the sliding layers the same in both.
TEST(KvPlanTest, NarrowFormTakesTenKibibytesAToken) {
  KvPlanOptions options;
  options.memory_bytes = int64_t{4} << 30;
  options.layout = {KvFormat::kBf16, KvForm::kPlain, 64};
  ASSERT_OK_AND_ASSIGN(const KvPlan plain, PlanKv(TwelveB(), options));
  options.layout.form = KvForm::kNarrow;
  ASSERT_OK_AND_ASSIGN(const KvPlan narrow, PlanKv(TwelveB(), options));
  EXPECT_EQ(plain.full_page_bytes, kPageTokens * 16384);
  EXPECT_EQ(narrow.full_page_bytes, kPageTokens * 10240);
  EXPECT_EQ(narrow.sliding_page_bytes, plain.sliding_page_bytes);
  EXPECT_GT(narrow.full_pages, plain.full_pages);
}

// Given a model whose turned dimensions are no whole vectors, expect the narrow form refused.
TEST(KvPlanTest, RefusesPairsThatDoNotFitTheNarrowForm) {
  KvPlanOptions options;
  options.layout = {KvFormat::kF32, KvForm::kNarrow, 12};
  EXPECT_THAT(PlanKv(TwelveB(), options),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--kv_form=narrow")));
}

// Given more memory, expect room for more sequences of usual length, never more than was given.
TEST(KvPlanTest, StaysWithinTheMemory) {
  int32_t sliding = 0;
  for (int64_t gib = 2; gib <= 64; gib *= 2) {
    const auto plan = PlanKv(TwelveB(), {gib << 30, 0, 64, 512});
    ASSERT_OK(plan);
    EXPECT_LE(plan->bytes(), gib << 30);
    EXPECT_GE(plan->context_tokens_max, 4096);
    EXPECT_GE(plan->sliding_pages, sliding);
    EXPECT_GE(plan->sliding_pages, SlidingPagesMax(TwelveB(), 512, plan->context_tokens_max));
    sliding = plan->sliding_pages;
  }
}

// Given too little memory for one sequence, or for the context asked for, expect how much it takes.
TEST(KvPlanTest, SaysWhatOneSequenceNeeds) {
  EXPECT_THAT(PlanKv(TwelveB(), {int64_t{256} << 20, 0, 64, 512}),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("one sequence of 4096")));
  EXPECT_THAT(PlanKv(TwelveB(), {int64_t{2} << 30, 262144, 64, 512}),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("one sequence of 262144")));
}

// Given a long context, expect a sequence to hold window and step in sliding pages, no more.
TEST(KvPlanTest, SlidingPagesAreBounded) {
  EXPECT_EQ(SlidingPagesMax(TwelveB(), 512, 100), 2);
  EXPECT_EQ(SlidingPagesMax(TwelveB(), 512, 262144), (1025 + 512 + 63) / 64 + 1);
}

// Given pages of both pools with contents of their own, expect a copy through host memory to bring
// back each byte, into any page, and to touch no other.
TEST(KvCacheTest, CopiesPagesToTheHostAndBack) {
  TextConfig config = {};
  config.sliding_window_tokens = 128;
  config.layers = {{true, 2, 16}, {false, 1, 32}, {true, 3, 16}};
  KvPlan plan;
  plan.full_pages = 3;
  plan.sliding_pages = 4;
  plan.full_page_bytes = int64_t{64} * 32 * 2 * 4;
  plan.sliding_page_bytes = int64_t{64} * (2 + 3) * 16 * 2 * 4;
  const auto device = MakeCpuDevice({1, "auto"});
  ASSERT_OK(device);
  auto cache = KvCache::Make(config, plan, **device);
  ASSERT_OK(cache);
  for (const KvPool pool : {KvPool::kFull, KvPool::kSliding}) {
    const int32_t pages = cache->pages().page_count(pool);
    const int64_t bytes = cache->page_bytes(pool);
    const auto contents = [&](int32_t page) {
      std::vector<uint8_t> all(bytes);
      for (int64_t i = 0; i < bytes; ++i) all[i] = static_cast<uint8_t>(i * 7 + i / 256 + page);
      return all;
    };
    const auto stored = [&](int32_t page) {
      std::vector<uint8_t> all(bytes);
      cache->CopyPageToHostBlocking(pool, page, all.data());
      return all;
    };
    for (int32_t page = 0; page < pages; ++page) {
      cache->CopyPageToDevice(pool, page, contents(page).data());
    }
    for (int32_t page = 0; page < pages; ++page) EXPECT_EQ(stored(page), contents(page));
    cache->CopyPageToDevice(pool, 0, stored(2).data());
    EXPECT_EQ(stored(0), contents(2));
    EXPECT_EQ(stored(1), contents(1));
  }
}

}  // namespace
}  // namespace facet
