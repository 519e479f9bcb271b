#ifndef FACET_MODEL_PAIR_MERGER_H_
#define FACET_MODEL_PAIR_MERGER_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "model/vocabulary.h"

namespace facet {

// Joins neighbouring pieces by a vocabulary's merges: of all neighbours that merge, those of the
// lowest rank, leftmost first, until none merge. Holds scratch memory, so it is for one thread at
// a time.
//
// Short rows are searched again for each merge. In long ones, the places where a merge may happen
// wait in one queue for each rank. A queue mostly fills from left to right, and then adding to it
// and taking from it cost no search; only out of order it becomes a heap. So a row of n costs
// O(n log n) at worst, and a run of one letter O(n).
class PairMerger {
 public:
  // `vocabulary` must outlive it.
  explicit PairMerger(const Vocabulary* vocabulary) : vocabulary_(*vocabulary) {
    recent_.fill({-1, -1});
  }

  // Replaces ids[begin..] by what they merge to.
  void MergeTail(size_t begin, std::vector<int>& ids);

  // Places queued, taken and compared so far in long rows: the work done, for tests.
  int64_t steps() const { return steps_; }

 private:
  // A piece in a long row, and how it merges with the piece after it.
  struct Node {
    int id;
    int previous;
    int next;  // -1: it is the last.
    Vocabulary::Merge merge;
  };
  // The places where the merge of one rank may happen, smallest first. Sorted from `head` on, or
  // else a heap (which a sorted row is, too).
  struct Queue {
    std::vector<int> places;
    size_t head = 0;
    bool is_heap = false;
    bool is_waiting = false;  // It is in waiting_.
    bool empty() const { return head == places.size(); }
  };

  void MergeShort(size_t begin, std::vector<int>& ids);
  void MergeLong(size_t begin, std::vector<int>& ids);
  void MergeAt(int place);
  // Looks up how `place` merges with what follows, and queues it if it does.
  void Consider(int place);
  void Push(int rank, int place);
  // The queue of a rank, a new one if there is none.
  int QueueOf(int rank);
  int PopFront(Queue& queue);
  void Forget();

  const Vocabulary& vocabulary_;
  std::vector<int> ranks_;  // Of short rows.
  std::vector<Node> nodes_;
  std::vector<Queue> queues_;  // The first queue_count_ are in use, the rest are empty.
  int queue_count_ = 0;
  absl::flat_hash_map<int, int> queue_of_rank_;
  // The (rank, queue) last looked up, by the rank's low bits: few ranks take turns.
  std::array<std::pair<int, int>, 64> recent_;
  std::vector<std::pair<int, int>> waiting_;  // A min-heap of (rank, queue).
  int64_t steps_ = 0;
};

}  // namespace facet

#endif  // FACET_MODEL_PAIR_MERGER_H_
