#include "router/text/token_cache.h"

#include <iterator>

namespace facet {

size_t TokenCache::Block::size_bytes() const {
  // The list's node and the index's slot come on top.
  return sizeof(Block) + 64 + text.size() + ids.size() * sizeof(int);
}

std::vector<int> TokenCache::Encode(absl::string_view text, const Tokenizer::Options& options) {
  if (options_.bytes_max == 0 || !options.parse_special || text.size() < 2 * options_.block_bytes) {
    return tokenizer_->Encode(text, options);
  }
  std::vector<int> ids;
  ids.reserve(text.size() / 4 + 2);
  if (options.add_special) ids.push_back(tokenizer_->vocabulary().roles().bos);
  while (text.size() > options_.block_bytes) {
    const absl::string_view block = text.substr(0, tokenizer_->NextCut(text, options_.block_bytes));
    text.remove_prefix(block.size());
    if (Find(block, ids)) continue;
    const std::vector<int> block_ids = tokenizer_->Encode(block);
    ids.insert(ids.end(), block_ids.begin(), block_ids.end());
    // The last one may go on in a longer text.
    if (!text.empty()) Insert(block, block_ids);
  }
  const std::vector<int> rest = tokenizer_->Encode(text);
  ids.insert(ids.end(), rest.begin(), rest.end());
  return ids;
}

size_t TokenCache::size_bytes() const {
  absl::MutexLock lock(&mutex_);
  return size_bytes_;
}

bool TokenCache::Find(absl::string_view text, std::vector<int>& ids) {
  absl::MutexLock lock(&mutex_);
  const auto found = index_.find(text);
  if (found == index_.end()) return false;
  blocks_.splice(blocks_.begin(), blocks_, found->second);
  ids.insert(ids.end(), found->second->ids.begin(), found->second->ids.end());
  return true;
}

void TokenCache::Insert(absl::string_view text, const std::vector<int>& ids) {
  Blocks one;
  one.push_back({std::string(text), ids});
  const size_t size = one.front().size_bytes();
  if (size > options_.bytes_max) return;
  Blocks evicted;  // Freed behind the lock.
  absl::MutexLock lock(&mutex_);
  if (!index_.try_emplace(one.front().text, one.begin()).second) return;
  blocks_.splice(blocks_.begin(), one);
  size_bytes_ += size;
  while (size_bytes_ > options_.bytes_max) {
    size_bytes_ -= blocks_.back().size_bytes();
    index_.erase(blocks_.back().text);
    evicted.splice(evicted.begin(), blocks_, std::prev(blocks_.end()));
  }
}

}  // namespace facet
