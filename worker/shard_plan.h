#ifndef FACET_WORKER_SHARD_PLAN_H_
#define FACET_WORKER_SHARD_PLAN_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "model/config.h"

namespace facet {

// [begin, end) of what is split between ranks.
struct Slice {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t size() const { return end - begin; }
  // The same, each element being `width` of something finer.
  Slice Times(int64_t width) const { return {begin * width, end * width}; }
};

// Which part of a decoder one rank of a tensor-parallel group holds.
//
//   query, key, value, gate, up   [outputs, H]   its heads', its part's rows
//   output, down                  [H, inputs]    the columns that go with them: a rank has a part
//                                                of each sum, and an all-reduce adds them up
//   head                          [V, H]         its rows; the embedding is whole on every rank
//   norms and scales                             whole on every rank
//
// Query heads go with the key head that they share. Where there are fewer KV heads than ranks, as
// on full layers, neighbouring ranks hold the same one.
struct ShardPlan {
  int rank = 0;
  int size = 1;
  TextConfig whole;  // the model
  TextConfig local;  // with the heads and the feed-forward width of this rank
  Slice query_heads;
  std::vector<Slice> kv_heads;  // by layer
  Slice feed_forward;
  Slice vocabulary;
};

// `block_elements`: of the largest blocks among the matrices that are split by columns, whose rows
// can be cut between blocks alone. INVALID_ARGUMENT: `size` does not divide heads, feed-forward,
// vocabulary or blocks; names the sizes that do. REQUIRES: 0 <= rank < size.
absl::StatusOr<ShardPlan> PlanShard(const TextConfig& config, int block_elements, int size,
                                    int rank);

// The plan of the only rank: all of it.
ShardPlan WholePlan(const TextConfig& config);

}  // namespace facet

#endif  // FACET_WORKER_SHARD_PLAN_H_
