#ifndef FACET_MODEL_WORD_CACHE_H_
#define FACET_MODEL_WORD_CACHE_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace facet {

// Remembers the token ids of short words: a table of fixed size in which a word has two places. A
// new word takes the first, what stood there moves to the second, and what stood there is gone. For
// one thread at a time.
class WordCache {
 public:
  static constexpr size_t kSlots = size_t{1} << 15;  // 128 bytes each: 4 MiB.
  static constexpr size_t kWordBytesMax = 46;
  static constexpr size_t kWordIdsMax = 20;

  WordCache() : slots_(kSlots) {}

  // The first place of a word; the second is the slot after it.
  static size_t SlotOf(absl::string_view word);
  // Here and below, `slot` is SlotOf(word). Appends the ids of `word`, if it is there.
  bool Find(size_t slot, absl::string_view word, std::vector<int>& ids) const;
  // Keeps a word that is within the bounds above, and ignores any other.
  void Insert(size_t slot, absl::string_view word, absl::Span<const int> ids);

 private:
  // What a usual word needs stands in the first 64 bytes, one cache line.
  struct alignas(64) Slot {
    uint8_t size = 0;  // 0: empty.
    uint8_t id_count = 0;
    char word[kWordBytesMax];
    int ids[kWordIdsMax];
  };
  static_assert(sizeof(Slot) == 128, "2 + 46 + 20 * 4 bytes");

  std::vector<Slot> slots_;
};

}  // namespace facet

#endif  // FACET_MODEL_WORD_CACHE_H_
