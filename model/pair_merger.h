#ifndef FACET_MODEL_PAIR_MERGER_H_
#define FACET_MODEL_PAIR_MERGER_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"
#include "model/vocabulary.h"

namespace facet {

// Joins neighbouring pieces by a vocabulary's merges: of all neighbours that merge, those of the
// lowest rank, leftmost first, until none merge. Holds scratch memory, so it is for one thread at
// a time.
//
// Short rows are searched again for each merge. In longer ones, the places where a merge may happen
// wait in one queue for each rank. A queue mostly fills from left to right, and then adding to it
// and taking from it cost no search; only out of order it becomes a heap. So n pieces cost
// O(n log n) at worst, and a run of one letter O(n).
//
// Long rows go block by block, so that the work stays in the processor's caches. This rests on:
// a row of pieces is what its symbols merge to if and only if each two neighbours are what their
// own symbols merge to. (Take the first merge that would cross a border between two of the pieces.
// Until then the symbols of these two merged only among themselves, in the order in which they do
// alone, so alone they would make that merge, too.) So the last few pieces of what is merged are
// merged again together with the next block; if the first of them comes out as it was, all
// neighbours are proven, and else the row is merged in one block.
class PairMerger {
 public:
  static constexpr size_t kBlockSymbols = 1024;

  // `vocabulary` must outlive it. Tests set a small block.
  explicit PairMerger(const Vocabulary* vocabulary, size_t block_symbols = kBlockSymbols)
      : vocabulary_(*vocabulary), block_symbols_(block_symbols) {
    recent_.fill({-1, -1});
  }

  // Replaces ids[begin..] by what they merge to.
  void MergeTail(size_t begin, std::vector<int>& ids);

  // For tests: places queued, taken and compared so far in long rows, and how many rows had to be
  // merged in one block.
  int64_t steps() const { return steps_; }
  int whole_rows() const { return whole_rows_; }

 private:
  // A piece in a block, and how it merges with the piece after it.
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
  // Merges `symbols`, any number of them, into nodes_: the pieces are its list from 0 on.
  void MergeBlock(absl::Span<const int> symbols);
  // Merges at `place`, and goes on while what arises is of a lower rank than all that waits.
  void MergeFrom(int place);
  // How `place` merges with what follows.
  int LookUp(int place);
  void Push(int rank, int place);
  // The queue of a rank, a new one if there is none.
  int QueueOf(int rank);
  int PopFront(Queue& queue);
  void ReleaseMemory();

  const Vocabulary& vocabulary_;
  const size_t block_symbols_;
  std::vector<int> ranks_;  // Of short rows.
  std::vector<Node> nodes_;
  std::vector<Queue> queues_;  // The first queue_count_ are in use, the rest are empty.
  int queue_count_ = 0;
  absl::flat_hash_map<int, int> queue_of_rank_;
  // The (rank, queue) last looked up, by the rank's low bits: few ranks take turns.
  std::array<std::pair<int, int>, 64> recent_;
  std::vector<std::pair<int, int>> waiting_;  // A min-heap of (rank, queue).
  int64_t steps_ = 0;
  int whole_rows_ = 0;
};

}  // namespace facet

#endif  // FACET_MODEL_PAIR_MERGER_H_
