#ifndef FACET_MODEL_VOCABULARY_H_
#define FACET_MODEL_VOCABULARY_H_

#include <bitset>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/hash/hash.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/metadata.h"

namespace facet {

// GGUF's numbers for the kinds of piece.
enum class PieceType : uint8_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6,
};

// The pieces of one model, their types, how they merge, and which ids play which role. Immutable
// after FromMetadata, hence safe to read from any thread. Owns all it returns views of.
class Vocabulary {
 public:
  // The ids that have a role, by the piece's spelling. A vocabulary may lack any of them but <bos>.
  struct Roles {
    int bos = 0;
    std::optional<int> eos, pad, unknown;
    std::optional<int> turn_begin, turn_end;                    // <|turn> <turn|>
    std::optional<int> channel_begin, channel_end;              // <|channel> <channel|>
    std::optional<int> think;                                   // <|think|>
    std::optional<int> tool_begin, tool_end;                    // <|tool> <tool|>
    std::optional<int> tool_call_begin, tool_call_end;          // <|tool_call> <tool_call|>
    std::optional<int> tool_response_begin, tool_response_end;  // <|tool_response> <tool_response|>
    std::optional<int> string_quote;                            // <|"|>
    std::optional<int> image_begin, image_end, image;           // <|image> <image|> <|image|>
    std::optional<int> audio_begin, audio_end, audio;           // <|audio> <audio|> <|audio|>
    std::optional<int> video;                                   // <|video|>
  };

  // What two neighbours become, and which merge goes first (the lowest rank).
  struct Merge {
    static constexpr int kNone = std::numeric_limits<int>::max();
    int rank = kNone;  // kNone: the two do not merge.
    int id = -1;
  };

  // Reads tokenizer.ggml.{model, tokens, token_type, merges, *_token_id, suppress_tokens} and
  // tokenizer.chat_template. INVALID_ARGUMENT or NOT_FOUND names the key that is missing or wrong:
  // lengths that differ, an id out of range, a byte without its piece, a merge of or into what is
  // no piece.
  static absl::StatusOr<std::shared_ptr<const Vocabulary>> FromMetadata(const Metadata& metadata);

  int size() const { return static_cast<int>(types_.size()); }
  // REQUIRES: 0 <= id < size(), here and below.
  // As the vocabulary spells it: "▁the", "<0x0A>".
  absl::string_view piece(int id) const { return pieces_.at(id); }
  // As it reads: " the", "\n". May be part of a UTF-8 character.
  absl::string_view text(int id) const { return texts_.at(id); }
  PieceType type(int id) const { return types_[id]; }
  // Whether its text is matched in a prompt as a whole: control, user-defined and unknown pieces.
  bool IsSpecial(int id) const;
  // The id of a piece by its spelling. The highest id wins when two pieces are spelled alike.
  std::optional<int> Find(absl::string_view piece) const;

  const Roles& roles() const { return roles_; }
  // The ids at which generation stops, ascending: <eos>, <turn|>, <|tool_response> as far as they
  // exist, and the file's own eos_token_id and eot_token_id.
  const std::vector<int>& stop_ids() const { return stop_ids_; }
  // The ids that are never generated, ascending: tokenizer.ggml.suppress_tokens, or <image|> and
  // <audio|> where a file lacks that key.
  const std::vector<int>& suppressed_ids() const { return suppressed_ids_; }
  // May be empty.
  absl::string_view chat_template() const { return chat_template_; }

  // --- For the tokenizer. ---

  Merge FindMerge(int left, int right) const {
    const uint64_t pair = PairKey(left, right);
    const size_t mask = merge_table_.size() - 1;
    for (size_t index = absl::HashOf(pair) & mask;; index = (index + 1) & mask) {
      const MergeSlot& slot = merge_table_[index];
      if (slot.pair == pair) return {slot.rank, slot.id};
      if (slot.pair == kEmptySlot) return {};
    }
  }
  int byte_id(uint8_t byte) const { return byte_ids_[byte]; }
  // The piece that is one character, or -1. A space and '▁' are the same.
  int character_id(char32_t character) const {
    return character < character_ids_.size() ? character_ids_[character] : -1;
  }
  // Whether text may be cut between two characters, given the last byte of the first and the first
  // byte of the second. True means: no merge has such a border between its two pieces ('▁' being
  // the same as a space), so no merge ever crosses the cut, and the two sides can be encoded one by
  // one. This is computed from every merge, so it holds for any vocabulary. In Gemma 4's a space
  // is joined to what stands before it only after '>' or another space.
  bool MayCut(uint8_t last, uint8_t first) const { return !joined_[last * 256 + first]; }
  // Every piece with IsSpecial.
  const std::vector<int>& special_ids() const { return special_ids_; }

 private:
  // Many short strings in one block.
  struct StringTable {
    std::string bytes;
    std::vector<uint32_t> ends;
    void Add(absl::string_view text);
    absl::string_view at(int index) const;
  };
  static constexpr uint64_t kEmptySlot = ~uint64_t{0};
  struct MergeSlot {
    uint64_t pair;  // A PairKey, or kEmptySlot.
    int rank;
    int id;
  };

  static uint64_t PairKey(int left, int right) {
    return static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right);
  }

  Vocabulary() = default;
  absl::Status ReadPieces(const Metadata& metadata);
  absl::Status ReadMerges(const Metadata& metadata);
  absl::Status ReadRoles(const Metadata& metadata);
  void FillFindTable();
  void FillCharacters();

  StringTable pieces_;
  StringTable texts_;
  std::vector<PieceType> types_;
  std::vector<int> find_table_;         // Open addressing; ids, -1 is empty; a power of two.
  std::vector<MergeSlot> merge_table_;  // Open addressing; a power of two.
  std::vector<int> character_ids_;      // By code point.
  std::vector<int> byte_ids_;           // [256]
  std::bitset<65536> joined_;           // [last byte][first byte]
  std::vector<int> special_ids_;
  Roles roles_;
  std::vector<int> stop_ids_;
  std::vector<int> suppressed_ids_;
  std::string chat_template_;
};

}  // namespace facet

#endif  // FACET_MODEL_VOCABULARY_H_
