#ifndef FACET_MODEL_TOKENIZER_H_
#define FACET_MODEL_TOKENIZER_H_

#include <bitset>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "model/vocabulary.h"

namespace facet {

// Text to token ids. Safe to use from any thread; owns a bounded number of bounded word caches, of
// which each running Encode borrows one.
//
// The rule: special pieces are cut out first (the longest at each position). The rest is a row of
// symbols: each well-formed UTF-8 character is one (a space is '▁'), and each byte that belongs to
// none is one. Of all neighbours that merge, those of the lowest rank, leftmost first, are joined,
// until none merge. A symbol that is no piece gives one byte piece for each of its bytes. So broken
// UTF-8 is kept, not replaced: the pieces' texts are the input again, byte for byte, but for '▁',
// which reads as a space.
class Tokenizer {
 public:
  struct Options {
    bool add_special = false;   // Put <bos> in front, even before another.
    bool parse_special = true;  // False: the text of a special piece is text like any other.
  };

  // The vocabulary is shared with all who turn the same model's ids into text.
  explicit Tokenizer(std::shared_ptr<const Vocabulary> vocabulary);
  ~Tokenizer();
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;

  // Takes any bytes. Time is O(n log n) in the longest stretch without a cut (see
  // Vocabulary::MayCut), in practice linear.
  std::vector<int> Encode(absl::string_view text, const Options& options) const;
  std::vector<int> Encode(absl::string_view text) const { return Encode(text, Options()); }

  // The first place from `position` on, which is not 0, where `text` may be cut: the ids of what
  // stands before it and of the rest, both with parse_special, are those of the whole. The end if
  // there is none. Which places those are depends on the bytes around them alone.
  size_t NextCut(absl::string_view text, size_t position) const;

  const Vocabulary& vocabulary() const { return *vocabulary_; }

 private:
  class Scratch;

  std::unique_ptr<Scratch> Borrow() const;
  void Return(std::unique_ptr<Scratch> scratch) const;
  // The length of the special piece that starts at `position`, and its id; 0 if none does.
  size_t MatchSpecial(absl::string_view text, size_t position, int* id) const;
  void EncodeText(absl::string_view text, Scratch& scratch, std::vector<int>& ids) const;

  const std::shared_ptr<const Vocabulary> vocabulary_;
  std::vector<size_t> special_lengths_;  // Distinct, descending.
  std::string special_first_bytes_;      // Distinct.
  std::bitset<65536> special_starts_;    // By the first two bytes.
  mutable absl::Mutex mutex_;
  mutable std::vector<std::unique_ptr<Scratch>> idle_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace facet

#endif  // FACET_MODEL_TOKENIZER_H_
