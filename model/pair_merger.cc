#include "model/pair_merger.h"

#include <algorithm>
#include <functional>

namespace facet {
namespace {

// Up to here, searching a row of ranks again is cheaper than queues.
constexpr size_t kShortMax = 48;
// How many pieces are merged again with the next block. What follows a piece seldom changes more
// than the one or two before it.
constexpr size_t kOverlapPieces = 8;
// Scratch memory above this is freed after use: a long row is rare.
constexpr size_t kKeptNodesMax = 1 << 14;

}  // namespace

void PairMerger::MergeTail(size_t begin, std::vector<int>& ids) {
  if (ids.size() - begin < 2) return;
  if (ids.size() - begin <= kShortMax) {
    MergeShort(begin, ids);
  } else {
    MergeLong(begin, ids);
  }
}

void PairMerger::MergeShort(size_t begin, std::vector<int>& ids) {
  // row[i] is a piece, ranks_[i] the rank at which it merges with row[i + 1].
  int* row = ids.data() + begin;
  size_t size = ids.size() - begin;
  const auto rank_at = [&](size_t i) { return vocabulary_.FindMerge(row[i], row[i + 1]).rank; };
  ranks_.resize(size - 1);
  for (size_t i = 0; i + 1 < size; ++i) ranks_[i] = rank_at(i);
  while (size > 1) {
    int* const end = ranks_.data() + (size - 1);
    int* const lowest = std::min_element(ranks_.data(), end);
    if (*lowest == Vocabulary::Merge::kNone) break;
    const size_t i = lowest - ranks_.data();
    row[i] = vocabulary_.FindMerge(row[i], row[i + 1]).id;
    std::copy(row + i + 2, row + size, row + i + 1);
    std::copy(lowest + 1, end, lowest);
    --size;
    if (i > 0) ranks_[i - 1] = rank_at(i - 1);
    if (i + 1 < size) ranks_[i] = rank_at(i);
  }
  ids.resize(begin + size);
}

void PairMerger::MergeLong(size_t begin, std::vector<int>& ids) {
  const absl::Span<const int> tail = absl::MakeConstSpan(ids).subspan(begin);
  const std::vector<int> symbols(tail.begin(), tail.end());
  std::vector<size_t> starts;  // The first symbol of each piece in ids[begin..].
  ids.resize(begin);
  size_t block_end = 0;
  while (block_end < symbols.size()) {
    const size_t kept = starts.size() - std::min(starts.size(), kOverlapPieces);
    size_t block_begin = kept < starts.size() ? starts[kept] : 0;
    block_end = std::min(block_end + block_symbols_, symbols.size());
    MergeBlock(absl::MakeConstSpan(symbols).subspan(block_begin, block_end - block_begin));
    if (block_begin > 0 && nodes_[0].id != ids[begin + kept]) {
      ++whole_rows_;
      starts.clear();
      block_begin = 0;
      block_end = symbols.size();
      MergeBlock(symbols);
    } else {
      starts.resize(kept);
    }
    ids.resize(begin + starts.size());
    for (int place = 0; place >= 0; place = nodes_[place].next) {
      ids.push_back(nodes_[place].id);
      starts.push_back(block_begin + place);
    }
  }
  if (nodes_.capacity() > kKeptNodesMax) ReleaseMemory();
}

void PairMerger::MergeBlock(absl::Span<const int> symbols) {
  const int size = static_cast<int>(symbols.size());
  nodes_.resize(size);
  for (int i = 0; i < size; ++i) {
    nodes_[i] = {symbols[i], i - 1, i + 1 < size ? i + 1 : -1, {}};
  }
  for (int i = 0; i < size; ++i) {
    // In a run of one symbol, every merge is the one before it.
    const bool repeats =
        i > 0 && i + 1 < size && symbols[i - 1] == symbols[i] && symbols[i] == symbols[i + 1];
    if (repeats) nodes_[i].merge = nodes_[i - 1].merge;
    const int rank = repeats ? nodes_[i].merge.rank : LookUp(i);
    if (rank != Vocabulary::Merge::kNone) Push(rank, i);
  }
  while (!waiting_.empty()) {
    const auto [rank, index] = waiting_.front();
    Queue& queue = queues_[index];
    if (queue.empty()) {
      std::pop_heap(waiting_.begin(), waiting_.end(), std::greater<>());
      waiting_.pop_back();
      queue.places.clear();
      queue.head = 0;
      queue.is_heap = false;
      queue.is_waiting = false;
      continue;
    }
    const int place = PopFront(queue);
    // What stood there when it was queued may have merged with something else since.
    if (nodes_[place].merge.rank == rank) MergeFrom(place);
  }
  queue_count_ = 0;
  queue_of_rank_.clear();
  recent_.fill({-1, -1});
}

void PairMerger::MergeFrom(int place) {
  while (true) {
    Node& node = nodes_[place];
    Node& gone = nodes_[node.next];
    node.id = node.merge.id;
    node.next = gone.next;
    gone.merge = {};
    if (node.next >= 0) nodes_[node.next].previous = place;
    const int previous = node.previous;
    const int rank = LookUp(place);
    const int previous_rank = previous < 0 ? Vocabulary::Merge::kNone : LookUp(previous);
    // Often one of the two is what comes next anyway, and then need not be queued.
    const int lowest = std::min(rank, previous_rank);
    if (lowest == Vocabulary::Merge::kNone) return;
    const bool is_next = waiting_.empty() || lowest < waiting_.front().first;
    const bool take_previous = is_next && previous_rank == lowest;
    const bool take_place = is_next && !take_previous;
    if (!take_previous && previous_rank != Vocabulary::Merge::kNone) Push(previous_rank, previous);
    if (!take_place && rank != Vocabulary::Merge::kNone) Push(rank, place);
    if (!is_next) return;
    ++steps_;
    if (take_previous) place = previous;
  }
}

int PairMerger::LookUp(int place) {
  Node& node = nodes_[place];
  node.merge =
      node.next < 0 ? Vocabulary::Merge() : vocabulary_.FindMerge(node.id, nodes_[node.next].id);
  return node.merge.rank;
}

void PairMerger::Push(int rank, int place) {
  std::pair<int, int>& recent = recent_[rank % recent_.size()];
  if (recent.first != rank) recent = {rank, QueueOf(rank)};
  Queue& queue = queues_[recent.second];
  ++steps_;
  if (!queue.is_waiting) {
    queue.is_waiting = true;
    waiting_.emplace_back(rank, recent.second);
    std::push_heap(waiting_.begin(), waiting_.end(), std::greater<>());
  }
  const bool in_order = queue.empty() || queue.places.back() < place;
  if (!queue.is_heap && !in_order) {
    std::vector<int>(queue.places.data() + queue.head, queue.places.data() + queue.places.size())
        .swap(queue.places);
    steps_ += static_cast<int64_t>(queue.places.size());
    queue.head = 0;
    queue.is_heap = true;
  }
  queue.places.push_back(place);
  if (queue.is_heap) {
    std::push_heap(queue.places.begin(), queue.places.end(), [&](int a, int b) {
      ++steps_;
      return a > b;
    });
  }
}

int PairMerger::QueueOf(int rank) {
  const auto [found, is_new] = queue_of_rank_.try_emplace(rank, queue_count_);
  if (is_new && queue_count_++ == static_cast<int>(queues_.size())) queues_.emplace_back();
  return found->second;
}

int PairMerger::PopFront(Queue& queue) {
  ++steps_;
  if (!queue.is_heap) return queue.places[queue.head++];
  std::pop_heap(queue.places.begin(), queue.places.end(), [&](int a, int b) {
    ++steps_;
    return a > b;
  });
  const int place = queue.places.back();
  queue.places.pop_back();
  return place;
}

void PairMerger::ReleaseMemory() {
  std::vector<Node>().swap(nodes_);
  std::vector<Queue>().swap(queues_);
  std::vector<std::pair<int, int>>().swap(waiting_);
}

}  // namespace facet
