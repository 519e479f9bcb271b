#include "worker/shard_plan.h"

#include <algorithm>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/check.h"
#include "kernels/collective.h"

namespace facet {
namespace {

// What `size` does not divide, in words; empty: it divides all.
std::string Obstacle(const TextConfig& config, int block_elements, int size) {
  if (size == 1) return "";
  if (config.query_heads % size != 0) return absl::StrCat(config.query_heads, " query heads");
  for (const LayerConfig& layer : config.layers) {
    if (layer.kv_heads % size != 0 && size % layer.kv_heads != 0) {
      return absl::StrCat(layer.kv_heads, " KV heads");
    }
    const int64_t attended = int64_t{config.query_heads} * layer.head_dim;
    if (attended % (int64_t{size} * block_elements) != 0) {
      return absl::StrCat("rows of ", attended, " attended values in blocks of ", block_elements);
    }
  }
  if (config.feed_forward_size % (int64_t{size} * block_elements) != 0) {
    return absl::StrCat("a feed-forward width of ", config.feed_forward_size, " in blocks of ",
                        block_elements);
  }
  if (config.vocab_size % size != 0) return absl::StrCat("a vocabulary of ", config.vocab_size);
  return "";
}

Slice PartOf(int64_t count, int size, int rank) {
  return {count * rank / size, count * (rank + 1) / size};
}

}  // namespace

absl::StatusOr<ShardPlan> PlanShard(const TextConfig& config, int block_elements, int size,
                                    int rank) {
  CHECK(rank >= 0 && rank < size) << "rank " << rank << " of " << size;
  if (const std::string obstacle = Obstacle(config, block_elements, size); !obstacle.empty()) {
    std::vector<int> sizes;
    for (int other = 1; other <= kRanksMax; ++other) {
      if (Obstacle(config, block_elements, other).empty()) sizes.push_back(other);
    }
    return absl::InvalidArgumentError(absl::StrCat("a tensor-parallel size of ", size,
                                                   " does not divide ", obstacle, "; ",
                                                   absl::StrJoin(sizes, ", "), " do"));
  }
  ShardPlan plan;
  plan.rank = rank;
  plan.size = size;
  plan.whole = plan.local = config;
  plan.query_heads = PartOf(config.query_heads, size, rank);
  plan.feed_forward = PartOf(config.feed_forward_size, size, rank);
  plan.vocabulary = PartOf(config.vocab_size, size, rank);
  plan.local.query_heads = static_cast<int>(plan.query_heads.size());
  plan.local.feed_forward_size = static_cast<int>(plan.feed_forward.size());
  for (LayerConfig& layer : plan.local.layers) {
    Slice& heads = plan.kv_heads.emplace_back(PartOf(layer.kv_heads, size, rank));
    if (layer.kv_heads < size) {
      heads.begin = int64_t{layer.kv_heads} * rank / size;
      heads.end = heads.begin + 1;
    }
    layer.kv_heads = static_cast<int>(heads.size());
  }
  return plan;
}

ShardPlan WholePlan(const TextConfig& config) {
  // One rank divides everything, whatever the blocks.
  return PlanShard(config, /*block_elements=*/1, /*size=*/1, /*rank=*/0).value();
}

}  // namespace facet
