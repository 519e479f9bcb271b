#include "worker/shard_plan.h"

#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace facet {
namespace {

using ::facet::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

// Gemma 4 12B's first period.
TextConfig TwelveB() {
  TextConfig config = {};
  config.vocab_size = 262144;
  config.hidden_size = 3840;
  config.feed_forward_size = 15360;
  config.query_heads = 16;
  for (int i = 0; i < 6; ++i) {
    config.layers.push_back(i < 5 ? LayerConfig{true, 8, 256} : LayerConfig{false, 1, 512});
  }
  return config;
}

// Given any size that divides, expect each query head, column of the feed-forward and id to be one
// rank's, and each rank's query heads to find their KV heads with it.
TEST(ShardPlanTest, RanksHoldEverythingOnce) {
  const TextConfig config = TwelveB();
  for (const int size : {1, 2, 4}) {
    int64_t query = 0, feed_forward = 0, vocabulary = 0;
    for (int rank = 0; rank < size; ++rank) {
      ASSERT_OK_AND_ASSIGN(const ShardPlan plan, PlanShard(config, 256, size, rank));
      EXPECT_EQ(plan.query_heads.begin, query);
      EXPECT_EQ(plan.feed_forward.begin, feed_forward);
      EXPECT_EQ(plan.vocabulary.begin, vocabulary);
      query = plan.query_heads.end;
      feed_forward = plan.feed_forward.end;
      vocabulary = plan.vocabulary.end;
      EXPECT_EQ(plan.local.query_heads, 16 / size);
      EXPECT_EQ(plan.local.feed_forward_size, 15360 / size);
      for (size_t i = 0; i < config.layers.size(); ++i) {
        const int sharing = config.query_heads / config.layers[i].kv_heads;
        const int local_sharing = plan.local.query_heads / plan.local.layers[i].kv_heads;
        for (int head = 0; head < plan.local.query_heads; ++head) {
          EXPECT_EQ((plan.query_heads.begin + head) / sharing,
                    plan.kv_heads[i].begin + head / local_sharing)
              << "size " << size << " rank " << rank << " layer " << i << " head " << head;
        }
      }
    }
    EXPECT_EQ(query, 16);
    EXPECT_EQ(feed_forward, 15360);
    EXPECT_EQ(vocabulary, 262144);
  }
}

// Given the one KV head of full layers, expect it on all ranks; given eight of sliding layers, two
// on each of four ranks and the same one on two of sixteen.
TEST(ShardPlanTest, FewerHeadsThanRanksAreShared) {
  const TextConfig config = TwelveB();
  for (int rank = 0; rank < 4; ++rank) {
    const ShardPlan plan = PlanShard(config, 32, 4, rank).value();
    EXPECT_EQ(plan.kv_heads[5].begin, 0);
    EXPECT_EQ(plan.kv_heads[5].end, 1);
    EXPECT_EQ(plan.kv_heads[0].begin, 2 * rank);
    EXPECT_EQ(plan.kv_heads[0].size(), 2);
  }
  const ShardPlan plan = PlanShard(config, 32, 16, 7).value();
  EXPECT_EQ(plan.kv_heads[0].begin, 3);
  EXPECT_EQ(plan.local.layers[0].kv_heads, 1);
}

// Given sizes that divide no heads, or no blocks, expect what stands against it and the sizes that
// divide.
TEST(ShardPlanTest, RefusalsNameTheSizesThatDivide) {
  const TextConfig config = TwelveB();
  EXPECT_THAT(PlanShard(config, 256, 3, 0).status(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("size of 3 does not divide 16 query heads"),
                             HasSubstr("1, 2, 4 do"))));
  EXPECT_THAT(PlanShard(config, 256, 8, 0).status(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("feed-forward width of 15360 in blocks of 256; 1, 2, 4 do")));
  EXPECT_THAT(PlanShard(config, 32, 3, 0).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("1, 2, 4, 8, 16 do")));
  TextConfig odd = config;
  odd.vocab_size = 1001;
  EXPECT_THAT(PlanShard(odd, 32, 2, 0).status(), StatusIs(absl::StatusCode::kInvalidArgument,
                                                          HasSubstr("a vocabulary of 1001; 1 do")));
  odd = config;
  odd.layers[0].kv_heads = 3;
  EXPECT_THAT(PlanShard(odd, 32, 2, 0).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("3 KV heads")));
}

}  // namespace
}  // namespace facet
