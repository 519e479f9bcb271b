#include "worker/split_head.h"

#include <algorithm>
#include <limits>

#include "base/check.h"
#include "worker/logit_row.h"

namespace facet {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

template <typename T>
absl::Span<const uint8_t> BytesOf(const T* values, int64_t count) {
  return {reinterpret_cast<const uint8_t*>(values), count * sizeof(T)};
}

}  // namespace

SplitHead::SplitHead(DeviceGroup* group, int vocab_size, int rows_max)
    : group_(*group),
      vocab_size_(vocab_size),
      slice_size_(vocab_size / group->size()),
      logits_(int64_t{group->rank() == 0 ? rows_max : 1} * vocab_size) {
  CHECK_EQ(vocab_size % group->size(), 0);
}

absl::Span<const float> SplitHead::Join(const float* slice, absl::Span<const int32_t> best_counts) {
  JoinBest(slice, best_counts);
  for (size_t row = 0; row < best_counts.size(); ++row) {
    if (best_counts[row] != 0) continue;
    // Others than rank 0 have room for one row, which they do not need.
    float* const out = group_.rank() == 0 ? &logits_[row * vocab_size_] : logits_.data();
    group_.AllGather(BytesOf(SliceRow(slice, row), slice_size_), out);
  }
  if (group_.rank() != 0) return {};
  return absl::MakeSpan(logits_).subspan(0, best_counts.size() * vocab_size_);
}

void SplitHead::JoinBest(const float* slice, absl::Span<const int32_t> best_counts) {
  const int64_t first_id = group_.rank() * slice_size_;
  own_.clear();
  for (size_t row = 0; row < best_counts.size(); ++row) {
    if (best_counts[row] == 0) continue;
    const LogitRow logits({SliceRow(slice, row), static_cast<size_t>(slice_size_)});
    const std::vector<Candidate> best = logits.Best(best_counts[row]);
    for (int i = 0; i < best_counts[row]; ++i) {
      const bool there = i < static_cast<int>(best.size());
      own_.push_back(there ? Entry{static_cast<int32_t>(first_id + best[i].id), best[i].logit}
                           : Entry{-1, 0});
    }
  }
  if (own_.empty()) return;
  all_.resize(own_.size() * group_.size());
  group_.AllGather(BytesOf(own_.data(), static_cast<int64_t>(own_.size())), all_.data());
  if (group_.rank() != 0) return;
  size_t first_entry = 0;
  for (size_t row = 0; row < best_counts.size(); ++row) {
    if (best_counts[row] == 0) continue;
    float* const out = &logits_[row * vocab_size_];
    std::fill_n(out, vocab_size_, kNever);
    for (int rank = 0; rank < group_.size(); ++rank) {
      const Entry* const entries = &all_[rank * own_.size() + first_entry];
      for (int i = 0; i < best_counts[row] && entries[i].id >= 0; ++i) {
        out[entries[i].id] = entries[i].logit;
      }
    }
    first_entry += best_counts[row];
  }
}

}  // namespace facet
