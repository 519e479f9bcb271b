// Generated ids, one for each byte of the input: the same result whether they come one by one or
// together, all of it UTF-8, and arguments of calls that are JSON.

#include "model/output_parser.h"

#include <boost/json.hpp>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/check.h"
#include "model/utf8.h"
#include "tests/fuzz/fuzz_target.h"

namespace facet {

// What a stream is made of, in the order of the input's bytes: ids 0 to 63 are these, the others
// byte pieces.
const std::vector<std::string>& Pieces() {
  static const auto* pieces = [] {
    auto* list = new std::vector<std::string>{"<pad>",
                                              "<eos>",
                                              "<bos>",
                                              "<unk>",
                                              "<|turn>",
                                              "<turn|>",
                                              "<|channel>",
                                              "<channel|>",
                                              "<|tool_call>",
                                              "<tool_call|>",
                                              "<|tool_response>",
                                              "<tool_response|>",
                                              "<|\"|>",
                                              "<|think|>",
                                              "<|image|>",
                                              "call",
                                              ":",
                                              "{",
                                              "}",
                                              "[",
                                              "]",
                                              ",",
                                              "name",
                                              "thought",
                                              "\n",
                                              "▁",
                                              "model",
                                              "a",
                                              "b",
                                              "\"",
                                              "\\",
                                              "1",
                                              "-",
                                              ".5",
                                              "e9",
                                              "true",
                                              "False",
                                              "None",
                                              "nil",
                                              "call:f{",
                                              "}}",
                                              "é",
                                              "😀"};
    for (int byte = 0; byte < 256; ++byte) list->push_back(absl::StrFormat("<0x%02X>", byte));
    return list;
  }();
  return *pieces;
}

std::shared_ptr<const Vocabulary> SmallVocabulary() {
  Metadata metadata;
  std::vector<int32_t> types;
  for (const std::string& piece : Pieces()) {
    const bool byte = absl::StartsWith(piece, "<0x");
    const bool user_defined = absl::StrContains(piece, "tool_") ||
                              absl::StrContains(piece, "channel") || piece == "<|\"|>";
    const bool control = piece.size() > 1 && piece[0] == '<';
    const PieceType type = byte           ? PieceType::kByte
                           : user_defined ? PieceType::kUserDefined
                           : control      ? PieceType::kControl
                                          : PieceType::kNormal;
    types.push_back(static_cast<int32_t>(type));
  }
  metadata.Set("tokenizer.ggml.model", std::string("gemma4"));
  metadata.Set("tokenizer.ggml.tokens", Pieces());
  metadata.Set("tokenizer.ggml.token_type", types);
  metadata.Set("tokenizer.ggml.merges", std::vector<std::string>());
  auto vocabulary = Vocabulary::FromMetadata(metadata);
  CHECK_OK(vocabulary);
  return *std::move(vocabulary);
}

// A byte of the input to an id: below 64 a piece of the list, else the byte piece.
int IdOf(uint8_t byte) {
  const int named = static_cast<int>(Pieces().size()) - 256;
  return byte < named ? byte : named + byte;
}

// All that came, in one text; calls in the order they came.
struct Result {
  std::string reasoning, content, calls;
  void Add(const OutputParser::Delta& delta) {
    absl::StrAppend(&reasoning, delta.reasoning);
    absl::StrAppend(&content, delta.content);
    for (const OutputParser::ToolCallDelta& call : delta.tool_calls) {
      boost::json::error_code error;
      boost::json::parse_options parse_options;
      parse_options.max_depth = 128;
      const auto value = boost::json::parse(call.arguments, error, {}, parse_options);
      CHECK(!error && value.is_object()) << call.arguments;
      absl::StrAppend(&calls, call.index, " ", call.name, call.arguments, "\n");
    }
  }
};

void CheckStream(const std::shared_ptr<const Vocabulary>& vocabulary, const std::vector<int>& ids,
                 const OutputParser::Options& options) {
  Result one_by_one, together;
  OutputParser slow(vocabulary, options), fast(vocabulary, options);
  for (const int id : ids) {
    const OutputParser::Delta delta = slow.Add(id);
    CHECK(IsUtf8(delta.content) && IsUtf8(delta.reasoning));
    one_by_one.Add(delta);
  }
  one_by_one.Add(slow.Finish());
  together.Add(fast.Add(ids));
  together.Add(fast.Finish());
  CHECK(one_by_one.content == together.content) << together.content;
  CHECK(one_by_one.reasoning == together.reasoning) << together.reasoning;
  CHECK(one_by_one.calls == together.calls) << together.calls;
  CHECK(IsUtf8(together.content) && IsUtf8(together.reasoning) && IsUtf8(together.calls));
  if (!options.parse_tool_calls) CHECK(together.calls.empty());
  if (!options.parse_reasoning) CHECK(together.reasoning.empty());
}

}  // namespace facet

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto vocabulary = facet::SmallVocabulary();
  if (size == 0) return 0;
  facet::OutputParser::Options options;
  options.starts_in_channel = (data[0] & 1) != 0;
  options.parse_reasoning = (data[0] & 2) == 0;
  options.parse_tool_calls = (data[0] & 4) == 0;
  std::vector<int> ids;
  for (size_t i = 1; i < size; ++i) ids.push_back(facet::IdOf(data[i]));
  facet::CheckStream(vocabulary, ids, options);
  return 0;
}
