#include "model/tokenizer.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "absl/strings/match.h"
#include "model/pair_merger.h"
#include "model/utf8.h"
#include "model/word_cache.h"

namespace facet {
namespace {

// How many word caches are kept; a further Encode that runs at the same time makes its own.
constexpr size_t kIdleMax = 16;

// Appends one id for each symbol of `text`, or those of its bytes where it is no piece.
void AppendSymbols(const Vocabulary& vocabulary, absl::string_view text, std::vector<int>& ids) {
  while (!text.empty()) {
    const uint8_t first = text.front();
    const Utf8Character character =
        first < 0x80 ? Utf8Character{1, first} : FirstUtf8Character(text);
    const int id = character.size == 0 ? -1 : vocabulary.character_id(character.code);
    const size_t size = std::max(1, character.size);
    if (id >= 0) {
      ids.push_back(id);
    } else {
      // A space without a piece is spelled as the mark that it stands for.
      const absl::string_view spelling = text.front() == ' ' ? "▁" : text.substr(0, size);
      for (const char byte : spelling) ids.push_back(vocabulary.byte_id(byte));
    }
    text.remove_prefix(size);
  }
}

}  // namespace

// What one running Encode needs.
class Tokenizer::Scratch {
 public:
  explicit Scratch(const Vocabulary* vocabulary) : merger(vocabulary) {}
  WordCache words;
  PairMerger merger;
};

Tokenizer::Tokenizer(std::shared_ptr<const Vocabulary> vocabulary)
    : vocabulary_(std::move(vocabulary)) {
  for (const int id : vocabulary_->special_ids()) {
    const absl::string_view piece = vocabulary_->piece(id);
    special_lengths_.push_back(piece.size());
    if (!absl::StrContains(special_first_bytes_, piece[0])) special_first_bytes_ += piece[0];
    for (int second = 0; second < 256; ++second) {
      if (piece.size() == 1 || static_cast<uint8_t>(piece[1]) == second) {
        special_starts_.set(static_cast<uint8_t>(piece[0]) * 256 + second);
      }
    }
  }
  std::sort(special_lengths_.begin(), special_lengths_.end(), std::greater<>());
  special_lengths_.erase(std::unique(special_lengths_.begin(), special_lengths_.end()),
                         special_lengths_.end());
}

Tokenizer::~Tokenizer() = default;

std::vector<int> Tokenizer::Encode(absl::string_view text, const Options& options) const {
  std::vector<int> ids;
  ids.reserve(text.size() / 4 + 2);
  if (options.add_special) ids.push_back(vocabulary_->roles().bos);
  std::unique_ptr<Scratch> scratch = Borrow();
  if (options.parse_special) {
    size_t begin = 0, position = 0;
    while ((position = text.find_first_of(special_first_bytes_, position)) != text.npos) {
      int id = 0;
      const size_t size = MatchSpecial(text, position, &id);
      if (size == 0) {
        ++position;
        continue;
      }
      EncodeText(text.substr(begin, position - begin), *scratch, ids);
      ids.push_back(id);
      begin = position += size;
    }
    text.remove_prefix(begin);
  }
  EncodeText(text, *scratch, ids);
  Return(std::move(scratch));
  return ids;
}

size_t Tokenizer::NextCut(absl::string_view text, size_t position) const {
  const size_t longest = special_lengths_.empty() ? 0 : special_lengths_.front();
  const auto in_special = [&](size_t cut) {
    int id = 0;
    for (size_t begin = cut - std::min(cut, longest); begin < cut; ++begin) {
      if (begin + MatchSpecial(text, begin, &id) > cut) return true;
    }
    return false;
  };
  for (; position < text.size(); ++position) {
    if (vocabulary_->MayCut(text[position - 1], text[position]) && !in_special(position)) break;
  }
  return std::min(position, text.size());
}

size_t Tokenizer::MatchSpecial(absl::string_view text, size_t position, int* id) const {
  const uint8_t first = text[position];
  const uint8_t second = position + 1 < text.size() ? text[position + 1] : 0;
  if (!special_starts_[first * 256 + second]) return 0;
  for (const size_t length : special_lengths_) {
    if (length > text.size() - position) continue;
    const std::optional<int> found = vocabulary_->Find(text.substr(position, length));
    if (found && vocabulary_->IsSpecial(*found)) {
      *id = *found;
      return length;
    }
  }
  return 0;
}

void Tokenizer::EncodeText(absl::string_view text, Scratch& scratch, std::vector<int>& ids) const {
  const Vocabulary& vocabulary = *vocabulary_;
  for (size_t begin = 0, end; begin < text.size(); begin = end) {
    end = begin + 1;
    while (end < text.size() && !vocabulary.MayCut(text[end - 1], text[end])) ++end;
    const absl::string_view word = text.substr(begin, end - begin);
    const bool keep = word.size() <= WordCache::kWordBytesMax;
    const size_t slot = keep ? WordCache::SlotOf(word) : 0;
    if (keep && scratch.words.Find(slot, word, ids)) continue;
    const size_t id_count = ids.size();
    if (!keep) ids.reserve(id_count + word.size());
    AppendSymbols(vocabulary, word, ids);
    scratch.merger.MergeTail(id_count, ids);
    if (keep) scratch.words.Insert(slot, word, absl::MakeConstSpan(ids).subspan(id_count));
  }
}

std::unique_ptr<Tokenizer::Scratch> Tokenizer::Borrow() const {
  {
    absl::MutexLock lock(&mutex_);
    if (!idle_.empty()) {
      std::unique_ptr<Scratch> scratch = std::move(idle_.back());
      idle_.pop_back();
      return scratch;
    }
  }
  return std::make_unique<Scratch>(vocabulary_.get());
}

void Tokenizer::Return(std::unique_ptr<Scratch> scratch) const {
  absl::MutexLock lock(&mutex_);
  if (idle_.size() < kIdleMax) idle_.push_back(std::move(scratch));
}

}  // namespace facet
