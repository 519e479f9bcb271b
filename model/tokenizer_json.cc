#include "model/tokenizer_json.h"

#include <algorithm>
#include <boost/json.hpp>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/vocabulary.h"

namespace facet {
namespace {

namespace json = boost::json;

// Gemma 4's own file has 14 MB.
constexpr size_t kFileBytesMax = size_t{256} << 20;

absl::Status Bad(absl::string_view field, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("tokenizer.json: ", field, " ", what));
}

// Markers whose text a parser of the output must see.
bool IsUserDefined(absl::string_view piece) {
  for (const absl::string_view marker :
       {"<|tool_call>", "<tool_call|>", "<|tool_response>", "<tool_response|>", "<|\"|>",
        "<|channel>", "<channel|>"}) {
    if (piece == marker) return true;
  }
  return false;
}

bool IsByte(absl::string_view piece) {
  return piece.size() == 6 && absl::StartsWith(piece, "<0x") && piece.back() == '>' &&
         absl::ascii_isxdigit(piece[3]) && absl::ascii_isxdigit(piece[4]);
}

std::string ToString(const json::string& text) { return std::string(text.data(), text.size()); }

// Null if `object` has no such key, or something else there.
const json::object* FindObject(const json::object& object, const char* key) {
  return object.contains(key) ? object.at(key).if_object() : nullptr;
}

bool IsText(const json::object& object, const char* key, absl::string_view text) {
  const json::value* value = object.if_contains(key);
  return value != nullptr && value->is_string() && ToString(value->as_string()) == text;
}

bool IsNullOrAbsent(const json::object& object, const char* key) {
  return !object.contains(key) || object.at(key).is_null();
}

// Spaces become '▁' and nothing else changes; a split at spaces then does nothing.
absl::Status CheckText(const json::object& file) {
  const json::object* normalizer = FindObject(file, "normalizer");
  const json::object* pattern = normalizer ? FindObject(*normalizer, "pattern") : nullptr;
  if (!pattern || !IsText(*normalizer, "type", "Replace") || !IsText(*pattern, "String", " ") ||
      !IsText(*normalizer, "content", "▁")) {
    return Bad("normalizer", "does not replace spaces by '▁'");
  }
  if (IsNullOrAbsent(file, "pre_tokenizer")) return absl::OkStatus();
  const json::object* split = FindObject(file, "pre_tokenizer");
  const json::object* at = split ? FindObject(*split, "pattern") : nullptr;
  if (!at || !IsText(*split, "type", "Split") || !IsText(*at, "String", " ")) {
    return Bad("pre_tokenizer", "is not a split at spaces");
  }
  return absl::OkStatus();
}

absl::Status CheckModel(const json::object& model) {
  if (!IsText(model, "type", "BPE")) return Bad("model.type", "is not 'BPE'");
  const json::value* fallback = model.if_contains("byte_fallback");
  if (!fallback || !fallback->is_bool() || !fallback->as_bool()) {
    return Bad("model.byte_fallback", "is not true");
  }
  const json::value* ignore = model.if_contains("ignore_merges");
  if (ignore && ignore->is_bool() && ignore->as_bool())
    return Bad("model.ignore_merges", "is true");
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!IsNullOrAbsent(model, key) && !IsText(model, key, "")) {
      return Bad(absl::StrCat("model.", key), "is not supported");
    }
  }
  return absl::OkStatus();
}

// Puts a piece at its id. The ids must in the end be 0 to n - 1, so each is less than the number of
// entries that the file has for pieces; without this bound one entry could ask for any memory.
absl::Status Place(int64_t id, std::string piece, absl::string_view field, int64_t entries,
                   std::vector<std::string>& pieces) {
  if (id < 0 || id >= entries) {
    return Bad(field, absl::StrCat("has the id ", id, ", the file has ", entries, " pieces"));
  }
  if (piece.empty()) return Bad(field, absl::StrCat("has an empty piece, id ", id));
  if (static_cast<size_t>(id) >= pieces.size()) pieces.resize(id + 1);
  if (!pieces[id].empty() && pieces[id] != piece) {
    return Bad(field, absl::StrCat("has the id ", id, " twice: '", pieces[id], "', '", piece, "'"));
  }
  pieces[id] = std::move(piece);
  return absl::OkStatus();
}

absl::Status ReadVocabulary(const json::object& vocabulary, int64_t entries,
                            std::vector<std::string>& pieces) {
  for (const auto& entry : vocabulary) {
    if (!entry.value().is_int64()) return Bad("model.vocab", "has an id that is not an integer");
    RETURN_IF_ERROR(Place(entry.value().as_int64(),
                          std::string(entry.key().data(), entry.key().size()), "model.vocab",
                          entries, pieces));
  }
  return absl::OkStatus();
}

// The ids of the added tokens.
absl::StatusOr<std::vector<int64_t>> ReadAddedTokens(const json::array& tokens, int64_t entries,
                                                     std::vector<std::string>& pieces) {
  std::vector<int64_t> ids;
  for (size_t i = 0; i < tokens.size(); ++i) {
    const std::string field = absl::StrCat("added_tokens[", i, "]");
    const json::object* token = tokens[i].if_object();
    const json::value* id = token ? token->if_contains("id") : nullptr;
    const json::value* content = token ? token->if_contains("content") : nullptr;
    if (!id || !id->is_int64() || !content || !content->is_string()) {
      return Bad(field, "has no id or no content");
    }
    RETURN_IF_ERROR(Place(id->as_int64(), ToString(content->as_string()), field, entries, pieces));
    ids.push_back(id->as_int64());
  }
  return ids;
}

// Written "left right" or ["left", "right"].
absl::StatusOr<std::vector<std::string>> ReadMerges(const json::object& model) {
  const json::value* value = model.if_contains("merges");
  const json::array* merges = value ? value->if_array() : nullptr;
  if (!merges) return Bad("model.merges", "is missing or not a list");
  std::vector<std::string> result;
  result.reserve(merges->size());
  for (const json::value& merge : *merges) {
    const json::array* pair = merge.if_array();
    if (merge.is_string()) {
      result.push_back(ToString(merge.as_string()));
    } else if (pair && pair->size() == 2 && (*pair)[0].is_string() && (*pair)[1].is_string()) {
      result.push_back(
          absl::StrCat(ToString((*pair)[0].as_string()), " ", ToString((*pair)[1].as_string())));
    } else {
      return Bad(absl::StrCat("model.merges[", result.size(), "]"), "is not a pair of pieces");
    }
  }
  return result;
}

void SetRole(const std::vector<std::string>& pieces, absl::string_view piece, absl::string_view key,
             Metadata& metadata) {
  const auto found = std::find(pieces.begin(), pieces.end(), piece);
  if (found != pieces.end()) metadata.Set(key, static_cast<uint32_t>(found - pieces.begin()));
}

}  // namespace

absl::Status AddTokenizerJson(absl::string_view text, Metadata& metadata) {
  if (text.size() > kFileBytesMax)
    return Bad("the file", absl::StrCat("has ", text.size(), " bytes"));
  // The document is a million small values that are freed at once.
  json::monotonic_resource memory;
  json::error_code error;
  const json::value document =
      json::parse(json::string_view(text.data(), text.size()), error, &memory);
  if (error) return Bad("the file", absl::StrCat("is not JSON: ", error.message()));
  const json::object* file = document.if_object();
  if (!file) return Bad("the file", "is not an object");
  const json::object* model = FindObject(*file, "model");
  if (!model) return Bad("model", "is missing or not an object");
  RETURN_IF_ERROR(CheckModel(*model));
  RETURN_IF_ERROR(CheckText(*file));

  const json::object* vocabulary = FindObject(*model, "vocab");
  if (!vocabulary) return Bad("model.vocab", "is missing or not an object");
  const json::array none;
  const bool has_added = !IsNullOrAbsent(*file, "added_tokens");
  const json::array* tokens = has_added ? file->at("added_tokens").if_array() : &none;
  if (!tokens) return Bad("added_tokens", "is not a list");
  const auto entries = static_cast<int64_t>(vocabulary->size() + tokens->size());
  std::vector<std::string> pieces;
  RETURN_IF_ERROR(ReadVocabulary(*vocabulary, entries, pieces));
  ASSIGN_OR_RETURN(const std::vector<int64_t> added, ReadAddedTokens(*tokens, entries, pieces));
  ASSIGN_OR_RETURN(std::vector<std::string> merges, ReadMerges(*model));
  const json::value* unknown = model->if_contains("unk_token");
  const std::string unknown_piece =
      unknown && unknown->is_string() ? ToString(unknown->as_string()) : "";

  std::vector<int32_t> types(pieces.size(), static_cast<int32_t>(PieceType::kNormal));
  for (const int64_t id : added) {
    types[id] = static_cast<int32_t>(IsUserDefined(pieces[id]) ? PieceType::kUserDefined
                                                               : PieceType::kControl);
  }
  for (size_t id = 0; id < pieces.size(); ++id) {
    if (pieces[id].empty()) return Bad("model.vocab", absl::StrCat("has no piece of id ", id));
    if (IsByte(pieces[id])) types[id] = static_cast<int32_t>(PieceType::kByte);
    if (pieces[id] == unknown_piece) types[id] = static_cast<int32_t>(PieceType::kUnknown);
  }

  metadata.Set("tokenizer.ggml.model", std::string("gemma4"));
  SetRole(pieces, "<bos>", "tokenizer.ggml.bos_token_id", metadata);
  SetRole(pieces, "<eos>", "tokenizer.ggml.eos_token_id", metadata);
  SetRole(pieces, "<unk>", "tokenizer.ggml.unknown_token_id", metadata);
  SetRole(pieces, "<pad>", "tokenizer.ggml.padding_token_id", metadata);
  SetRole(pieces, "<mask>", "tokenizer.ggml.mask_token_id", metadata);
  metadata.Set("tokenizer.ggml.add_bos_token", true);
  metadata.Set("tokenizer.ggml.add_space_prefix", false);
  metadata.Set("tokenizer.ggml.tokens", std::move(pieces));
  metadata.Set("tokenizer.ggml.token_type", std::move(types));
  metadata.Set("tokenizer.ggml.merges", std::move(merges));
  return absl::OkStatus();
}

}  // namespace facet
