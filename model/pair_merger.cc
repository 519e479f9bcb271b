#include "model/pair_merger.h"

#include <algorithm>
#include <functional>

namespace facet {
namespace {

// Up to here, searching a row of ranks again is cheaper than queues.
constexpr size_t kShortMax = 48;
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
    const auto end = ranks_.begin() + (size - 1);
    const auto lowest = std::min_element(ranks_.begin(), end);
    if (*lowest == Vocabulary::Merge::kNone) break;
    const size_t i = lowest - ranks_.begin();
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
  const int size = static_cast<int>(ids.size() - begin);
  nodes_.resize(size);
  for (int i = 0; i < size; ++i) {
    nodes_[i] = {ids[begin + i], i - 1, i + 1 < size ? i + 1 : -1, {}};
  }
  for (int i = 0; i < size; ++i) Consider(i);
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
    if (nodes_[place].merge.rank == rank) MergeAt(place);
  }
  ids.resize(begin);
  for (int place = 0; place >= 0; place = nodes_[place].next) ids.push_back(nodes_[place].id);
  Forget();
}

void PairMerger::MergeAt(int place) {
  Node& node = nodes_[place];
  Node& gone = nodes_[node.next];
  node.id = node.merge.id;
  node.next = gone.next;
  gone.merge = {};
  if (node.next >= 0) nodes_[node.next].previous = place;
  if (node.previous >= 0) Consider(node.previous);
  Consider(place);
}

void PairMerger::Consider(int place) {
  Node& node = nodes_[place];
  node.merge =
      node.next < 0 ? Vocabulary::Merge() : vocabulary_.FindMerge(node.id, nodes_[node.next].id);
  if (node.merge.rank != Vocabulary::Merge::kNone) Push(node.merge.rank, place);
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
    queue.places.erase(queue.places.begin(), queue.places.begin() + queue.head);
    steps_ += queue.places.size();
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

void PairMerger::Forget() {
  queue_count_ = 0;
  queue_of_rank_.clear();
  recent_.fill({-1, -1});
  if (nodes_.capacity() <= kKeptNodesMax) return;
  std::vector<Node>().swap(nodes_);
  std::vector<Queue>().swap(queues_);
  std::vector<std::pair<int, int>>().swap(waiting_);
}

}  // namespace facet
