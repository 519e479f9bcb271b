#include "tests/fake_worker/small_model.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/check.h"
#include "model/detokenizer.h"
#include "model/gguf_writer.h"
#include "model/tokenizer.h"
#include "model/tokenizer_digest.h"
#include "proto/page_key.h"
#include "proto/protocol_version.h"

namespace facet::testing {

Metadata SmallMetadata() {
  std::vector<std::string> pieces;
  std::vector<int32_t> types;
  const auto add = [&](absl::string_view piece, PieceType type) {
    pieces.emplace_back(piece);
    types.push_back(static_cast<int32_t>(type));
  };
  for (const char* piece : {"<pad>", "<eos>", "<bos>"}) add(piece, PieceType::kControl);
  add("<unk>", PieceType::kUnknown);
  for (const char* piece : {"<|think|>", "<|tool>", "<tool|>", "<|turn>", "<turn|>"}) {
    add(piece, PieceType::kControl);
  }
  for (const char* piece : {"<|channel>", "<channel|>", "<|tool_call>", "<tool_call|>",
                            "<|tool_response>", "<tool_response|>", "<|\"|>"}) {
    add(piece, PieceType::kUserDefined);
  }
  for (int byte = 0; byte < 256; ++byte) add(absl::StrFormat("<0x%02X>", byte), PieceType::kByte);
  add("\n", PieceType::kNormal);
  add("▁", PieceType::kNormal);
  for (char c = '!'; c <= '~'; ++c) add(std::string(1, c), PieceType::kNormal);
  for (const char* piece : {"th", "the", "▁the"}) add(piece, PieceType::kNormal);
  for (const char* piece :
       {"<|image>", "<image|>", "<|image|>", "<|audio>", "<audio|>", "<|audio|>", "<|video|>"}) {
    add(piece, PieceType::kControl);
  }

  Metadata metadata;
  metadata.Set("general.architecture", std::string("gemma4"));
  metadata.Set("general.sampling.temp", 0.5f);
  metadata.Set("general.sampling.top_k", 32u);
  metadata.Set("general.sampling.top_p", 0.9f);
  metadata.Set("tokenizer.ggml.model", std::string("gemma4"));
  metadata.Set("tokenizer.ggml.tokens", pieces);
  metadata.Set("tokenizer.ggml.token_type", types);
  metadata.Set("tokenizer.ggml.merges", std::vector<std::string>{"t h", "th e", "▁ the"});
  return metadata;
}

std::shared_ptr<const Vocabulary> SmallVocabulary() {
  static const auto& vocabulary = *new std::shared_ptr<const Vocabulary>([] {
    auto result = Vocabulary::FromMetadata(SmallMetadata());
    CHECK_OK(result);
    return *std::move(result);
  }());
  return vocabulary;
}

v1::DescribeReply SmallDescription(absl::string_view model_name) {
  v1::DescribeReply description;
  description.set_model_name(std::string(model_name));
  description.set_model_digest(absl::StrCat("digest of ", model_name));
  description.set_metadata_gguf(WriteGgufMetadata(SmallMetadata()));
  description.set_tokenizer_digest(TokenizerDigest(SmallMetadata()));
  description.set_protocol_version(kProtocolVersion);
  description.set_page_key_version(kPageKeyVersion);
  description.set_numerics_class("fake");
  description.set_page_tokens(64);
  description.set_context_tokens_max(4096);
  description.set_running_requests_max(64);
  description.set_waiting_requests_max(64);
  description.set_worker_id("fake");
  description.mutable_media()->set_images(true);
  description.mutable_media()->set_sounds(true);
  description.mutable_media()->set_image_tokens_max(280);
  return description;
}

std::vector<uint32_t> SmallIds(absl::string_view text) {
  const std::vector<int> ids = Tokenizer(SmallVocabulary()).Encode(text);
  return {ids.begin(), ids.end()};
}

std::string SmallText(const std::vector<uint32_t>& ids) {
  Detokenizer detokenizer(SmallVocabulary(), /*skip_special=*/false);
  std::string text;
  for (const uint32_t id : ids) text += detokenizer.Add(static_cast<int>(id));
  return text + detokenizer.Finish();
}

}  // namespace facet::testing
