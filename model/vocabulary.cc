#include "model/vocabulary.h"

#include <algorithm>
#include <utility>

#include "absl/hash/hash.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "base/status_macros.h"
#include "model/utf8.h"

namespace facet {
namespace {

constexpr absl::string_view kModelKey = "tokenizer.ggml.model";
constexpr absl::string_view kTokensKey = "tokenizer.ggml.tokens";
constexpr absl::string_view kTypesKey = "tokenizer.ggml.token_type";
constexpr absl::string_view kMergesKey = "tokenizer.ggml.merges";
constexpr absl::string_view kSuppressKey = "tokenizer.ggml.suppress_tokens";
constexpr absl::string_view kTemplateKey = "tokenizer.chat_template";

constexpr absl::string_view kSpaceMark = "▁";
constexpr char32_t kSpaceMarkCode = 0x2581;
// Gemma's vocabularies have 2^18 pieces; ids beyond 2^24 are a broken file.
constexpr size_t kPiecesMax = size_t{1} << 24;

absl::Status Bad(absl::string_view key, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("metadata key '", key, "': ", what));
}

// Twice as many slots as entries, so that probes are short.
size_t SlotCount(size_t entries) {
  size_t slots = 16;
  while (slots < 2 * entries) slots *= 2;
  return slots;
}

// The bytes that the last character of a text may end in, and the first may begin with. A space is
// written as ' ' or as '▁', so it has two; any other character has one, given twice.
std::pair<uint8_t, uint8_t> LastBytes(absl::string_view text) {
  const uint8_t last = text.back();
  const bool space = last == ' ' || absl::EndsWith(text, kSpaceMark);
  return space ? std::pair<uint8_t, uint8_t>(' ', kSpaceMark.back()) : std::pair(last, last);
}

std::pair<uint8_t, uint8_t> FirstBytes(absl::string_view text) {
  const uint8_t first = text.front();
  const bool space = first == ' ' || absl::StartsWith(text, kSpaceMark);
  return space ? std::pair<uint8_t, uint8_t>(' ', kSpaceMark.front()) : std::pair(first, first);
}

// The value of "<0xXX>", or nothing.
std::optional<uint8_t> ByteOf(absl::string_view piece) {
  if (piece.size() != 6 || !absl::StartsWith(piece, "<0x") || piece.back() != '>') {
    return std::nullopt;
  }
  uint32_t value = 0;
  if (!absl::SimpleHexAtoi(piece.substr(3, 2), &value)) return std::nullopt;
  return static_cast<uint8_t>(value);
}

absl::StatusOr<std::optional<int>> GetId(const Metadata& metadata, absl::string_view key,
                                         int size) {
  if (!metadata.Has(key)) return std::nullopt;
  ASSIGN_OR_RETURN(const int64_t id, metadata.GetInt(key));
  if (id < 0 || id >= size) {
    return Bad(key, absl::StrCat("id ", id, " is not one of ", size, " pieces"));
  }
  return static_cast<int>(id);
}

void SortUnique(std::vector<int>& ids) {
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
}

}  // namespace

absl::StatusOr<std::shared_ptr<const Vocabulary>> Vocabulary::FromMetadata(
    const Metadata& metadata) {
  ASSIGN_OR_RETURN(const absl::string_view model, metadata.GetString(kModelKey));
  if (model != "gemma4") return Bad(kModelKey, absl::StrCat("'", model, "' is not 'gemma4'"));
  std::shared_ptr<Vocabulary> vocabulary(new Vocabulary());
  RETURN_IF_ERROR(vocabulary->ReadPieces(metadata));
  RETURN_IF_ERROR(vocabulary->ReadMerges(metadata));
  RETURN_IF_ERROR(vocabulary->ReadRoles(metadata));
  if (metadata.Has(kTemplateKey)) {
    ASSIGN_OR_RETURN(const absl::string_view chat_template, metadata.GetString(kTemplateKey));
    vocabulary->chat_template_ = std::string(chat_template);
  }
  return vocabulary;
}

bool Vocabulary::IsSpecial(int id) const {
  return types_[id] == PieceType::kControl || types_[id] == PieceType::kUserDefined ||
         types_[id] == PieceType::kUnknown;
}

std::optional<int> Vocabulary::Find(absl::string_view piece) const {
  const size_t mask = find_table_.size() - 1;
  for (size_t slot = absl::HashOf(piece) & mask;; slot = (slot + 1) & mask) {
    const int id = find_table_[slot];
    if (id < 0) return std::nullopt;
    if (pieces_.at(id) == piece) return id;
  }
}

absl::Status Vocabulary::ReadPieces(const Metadata& metadata) {
  ASSIGN_OR_RETURN(const std::vector<std::string>* tokens, metadata.GetStrings(kTokensKey));
  ASSIGN_OR_RETURN(const std::vector<int64_t> types, metadata.GetInts(kTypesKey));
  if (tokens->empty() || tokens->size() > kPiecesMax) {
    return Bad(kTokensKey, absl::StrCat("it has ", tokens->size(), " pieces"));
  }
  if (types.size() != tokens->size()) {
    return Bad(kTypesKey,
               absl::StrCat("it has ", types.size(), " entries for ", tokens->size(), " pieces"));
  }
  byte_ids_.assign(256, -1);
  const int count = static_cast<int>(tokens->size());
  for (int id = 0; id < count; ++id) {
    const std::string& piece = (*tokens)[id];
    if (piece.empty()) return Bad(kTokensKey, absl::StrCat("piece ", id, " is empty"));
    if (!IsUtf8(piece)) return Bad(kTokensKey, absl::StrCat("piece ", id, " is not UTF-8"));
    if (types[id] < 1 || types[id] > 6) {
      return Bad(kTypesKey, absl::StrCat("entry ", id, " is ", types[id], ", not 1 to 6"));
    }
    types_.push_back(static_cast<PieceType>(types[id]));
    pieces_.Add(piece);
    if (types_.back() == PieceType::kByte) {
      const std::optional<uint8_t> byte = ByteOf(piece);
      if (!byte) return Bad(kTokensKey, absl::StrCat("byte piece ", id, " is '", piece, "'"));
      byte_ids_[*byte] = id;
      texts_.Add(std::string(1, static_cast<char>(*byte)));
    } else {
      texts_.Add(absl::StrReplaceAll(piece, {{kSpaceMark, " "}}));
    }
    if (IsSpecial(id)) special_ids_.push_back(id);
  }
  for (int byte = 0; byte < 256; ++byte) {
    if (byte_ids_[byte] < 0) {
      return Bad(kTokensKey, absl::StrFormat("the byte piece <0x%02X> is missing", byte));
    }
  }
  FillFindTable();
  FillCharacters();
  return absl::OkStatus();
}

void Vocabulary::FillFindTable() {
  find_table_.assign(SlotCount(types_.size()), -1);
  const size_t mask = find_table_.size() - 1;
  for (int id = 0; id < size(); ++id) {
    size_t slot = absl::HashOf(pieces_.at(id)) & mask;
    while (find_table_[slot] >= 0 && pieces_.at(find_table_[slot]) != pieces_.at(id)) {
      slot = (slot + 1) & mask;
    }
    find_table_[slot] = id;
  }
}

void Vocabulary::FillCharacters() {
  for (int id = 0; id < size(); ++id) {
    const absl::string_view piece = pieces_.at(id);
    const Utf8Character character = FirstUtf8Character(piece);
    if (character.size == 0 || static_cast<size_t>(character.size) != piece.size()) continue;
    if (character.code >= character_ids_.size()) character_ids_.resize(character.code + 1, -1);
    character_ids_[character.code] = id;
  }
  if (character_ids_.size() <= ' ') character_ids_.resize(' ' + 1, -1);
  character_ids_[' '] = character_id(kSpaceMarkCode);
}

absl::Status Vocabulary::ReadMerges(const Metadata& metadata) {
  ASSIGN_OR_RETURN(const std::vector<std::string>* merges, metadata.GetStrings(kMergesKey));
  if (merges->size() > 16 * kPiecesMax) {
    return Bad(kMergesKey, absl::StrCat("it has ", merges->size(), " entries"));
  }
  // Nothing cuts inside a character.
  for (int last = 0; last < 256; ++last) {
    for (int first = 0x80; first < 0xC0; ++first) joined_.set(last * 256 + first);
  }
  merge_table_.assign(SlotCount(merges->size()), MergeSlot{kEmptySlot, 0, 0});
  const size_t mask = merge_table_.size() - 1;
  std::string both;
  for (size_t rank = 0; rank < merges->size(); ++rank) {
    const absl::string_view merge = (*merges)[rank];
    const auto bad = [&](absl::string_view what) {
      return Bad(kMergesKey, absl::StrCat("merge ", rank, " ('", merge, "') ", what));
    };
    const size_t space = merge.find(' ');
    if (space == absl::string_view::npos) return bad("has no space between two pieces");
    const absl::string_view left = merge.substr(0, space), right = merge.substr(space + 1);
    const std::optional<int> left_id = Find(left), right_id = Find(right);
    // Cut-down vocabularies keep merges of pieces that they dropped; such a merge never happens.
    if (!left_id || !right_id) continue;
    both.assign(left.data(), left.size());
    both.append(right.data(), right.size());
    const std::optional<int> id = Find(both);
    if (!id) continue;
    for (const int part : {*left_id, *right_id, *id}) {
      if (type(part) == PieceType::kByte) return bad("has a byte piece");
    }
    const uint64_t pair = PairKey(*left_id, *right_id);
    size_t slot = absl::HashOf(pair) & mask;
    while (merge_table_[slot].pair != kEmptySlot) {
      if (merge_table_[slot].pair == pair) return bad("stands there twice");
      slot = (slot + 1) & mask;
    }
    merge_table_[slot] = {pair, static_cast<int>(rank), *id};
    const auto last = LastBytes(left), first = FirstBytes(right);
    for (const uint8_t l : {last.first, last.second}) {
      for (const uint8_t f : {first.first, first.second}) joined_.set(l * 256 + f);
    }
  }
  return absl::OkStatus();
}

absl::Status Vocabulary::ReadRoles(const Metadata& metadata) {
  const auto key_or_piece = [&](absl::string_view key,
                                absl::string_view piece) -> absl::StatusOr<std::optional<int>> {
    ASSIGN_OR_RETURN(const std::optional<int> id, GetId(metadata, key, size()));
    return id ? id : Find(piece);
  };
  ASSIGN_OR_RETURN(const std::optional<int> bos,
                   key_or_piece("tokenizer.ggml.bos_token_id", "<bos>"));
  if (!bos) return absl::NotFoundError("metadata key 'tokenizer.ggml.bos_token_id' is missing");
  roles_.bos = *bos;
  ASSIGN_OR_RETURN(roles_.pad, key_or_piece("tokenizer.ggml.padding_token_id", "<pad>"));
  ASSIGN_OR_RETURN(roles_.unknown, key_or_piece("tokenizer.ggml.unknown_token_id", "<unk>"));
  // The file's own eos may be <turn|>, so the role goes by the spelling.
  roles_.eos = Find("<eos>");
  roles_.turn_begin = Find("<|turn>");
  roles_.turn_end = Find("<turn|>");
  roles_.channel_begin = Find("<|channel>");
  roles_.channel_end = Find("<channel|>");
  roles_.think = Find("<|think|>");
  roles_.tool_begin = Find("<|tool>");
  roles_.tool_end = Find("<tool|>");
  roles_.tool_call_begin = Find("<|tool_call>");
  roles_.tool_call_end = Find("<tool_call|>");
  roles_.tool_response_begin = Find("<|tool_response>");
  roles_.tool_response_end = Find("<tool_response|>");
  roles_.string_quote = Find("<|\"|>");
  roles_.image_begin = Find("<|image>");
  roles_.image_end = Find("<image|>");
  roles_.image = Find("<|image|>");
  roles_.audio_begin = Find("<|audio>");
  roles_.audio_end = Find("<audio|>");
  roles_.audio = Find("<|audio|>");
  roles_.video = Find("<|video|>");

  ASSIGN_OR_RETURN(const std::optional<int> file_eos,
                   GetId(metadata, "tokenizer.ggml.eos_token_id", size()));
  ASSIGN_OR_RETURN(const std::optional<int> file_eot,
                   GetId(metadata, "tokenizer.ggml.eot_token_id", size()));
  for (const std::optional<int> id :
       {roles_.eos, roles_.turn_end, roles_.tool_response_begin, file_eos, file_eot}) {
    if (id) stop_ids_.push_back(*id);
  }
  SortUnique(stop_ids_);

  if (metadata.Has(kSuppressKey)) {
    ASSIGN_OR_RETURN(const std::vector<int64_t> ids, metadata.GetInts(kSuppressKey));
    for (const int64_t id : ids) {
      if (id < 0 || id >= size()) {
        return Bad(kSuppressKey, absl::StrCat("id ", id, " is not one of ", size(), " pieces"));
      }
      suppressed_ids_.push_back(static_cast<int>(id));
    }
  } else {
    for (const std::optional<int> id : {roles_.image_end, roles_.audio_end}) {
      if (id) suppressed_ids_.push_back(*id);
    }
  }
  SortUnique(suppressed_ids_);
  return absl::OkStatus();
}

void Vocabulary::StringTable::Add(absl::string_view text) {
  bytes.append(text.data(), text.size());
  ends.push_back(static_cast<uint32_t>(bytes.size()));
}

absl::string_view Vocabulary::StringTable::at(int index) const {
  const uint32_t begin = index == 0 ? 0 : ends[index - 1];
  return absl::string_view(bytes).substr(begin, ends[index] - begin);
}

}  // namespace facet
