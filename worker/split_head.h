#ifndef FACET_WORKER_SPLIT_HEAD_H_
#define FACET_WORKER_SPLIT_HEAD_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "worker/device_group.h"

namespace facet {

// Puts the logits of a step together where the vocabulary is split between ranks. Of a row whose
// likeliest ids suffice, each rank gives its best few, and the whole row has these and -infinity
// elsewhere: the best of all ids are among the best of their slices, so whoever looks at no more
// than the best `count` gets what the whole row would have given, bit for bit. Other rows are
// gathered whole, one after the other. Used by one thread, the engine's.
class SplitHead {
 public:
  // REQUIRES: the group's size divides vocab_size.
  SplitHead(DeviceGroup* group, int vocab_size, int rows_max);

  // `slice`: host, [rows, vocab_size / group size], this rank's. `best_counts`: [rows], how many of
  // the likeliest ids are wanted of each row; 0: all. The same on all ranks. Gives back the logits
  // on rank 0, host [rows, vocab_size], valid until the next call; nothing on others.
  absl::Span<const float> Join(const float* slice, absl::Span<const int32_t> best_counts);

 private:
  // As ranks pass it to each other.
  struct Entry {
    int32_t id;  // -1: there are no more
    float logit;
  };
  void JoinBest(const float* slice, absl::Span<const int32_t> best_counts);
  const float* SliceRow(const float* slice, size_t row) const { return slice + row * slice_size_; }

  DeviceGroup& group_;
  const int64_t vocab_size_, slice_size_;
  std::vector<float> logits_;     // [rows_max, vocab_size] on rank 0, else [vocab_size]
  std::vector<Entry> own_, all_;  // of the rows whose best are wanted
};

}  // namespace facet

#endif  // FACET_WORKER_SPLIT_HEAD_H_
