#include "model/word_cache.h"

#include <algorithm>
#include <cstring>

#include "absl/hash/hash.h"

namespace facet {

size_t WordCache::SlotOf(absl::string_view word) { return absl::HashOf(word) % (kSlots / 2) * 2; }

bool WordCache::Find(size_t slot, absl::string_view word, std::vector<int>& ids) const {
  for (const Slot* kept = &slots_[slot]; kept <= &slots_[slot + 1]; ++kept) {
    if (kept->size != word.size() || std::memcmp(kept->word, word.data(), word.size()) != 0) {
      continue;
    }
    ids.insert(ids.end(), kept->ids, kept->ids + kept->id_count);
    return true;
  }
  return false;
}

void WordCache::Insert(size_t slot, absl::string_view word, absl::Span<const int> ids) {
  if (word.empty() || word.size() > kWordBytesMax || ids.size() > kWordIdsMax) return;
  Slot& kept = slots_[slot];
  slots_[slot + 1] = kept;
  kept.size = static_cast<uint8_t>(word.size());
  kept.id_count = static_cast<uint8_t>(ids.size());
  std::copy(word.begin(), word.end(), kept.word);
  std::copy(ids.begin(), ids.end(), kept.ids);
}

}  // namespace facet
