#include "model/testing/real_vocabulary.h"

#include <lzma.h>

#include <boost/json.hpp>
#include <cstdint>
#include <string>

#include "base/check.h"
#include "model/testing/files.h"

namespace facet::testing {
namespace {

std::string DecompressXz(const std::string& packed) {
  lzma_stream stream = LZMA_STREAM_INIT;
  CHECK(lzma_stream_decoder(&stream, UINT64_MAX, 0) == LZMA_OK);
  stream.next_in = reinterpret_cast<const uint8_t*>(packed.data());
  stream.avail_in = packed.size();
  std::string text;
  std::string block(1 << 20, '\0');
  lzma_ret result = LZMA_OK;
  while (result == LZMA_OK) {
    stream.next_out = reinterpret_cast<uint8_t*>(block.data());
    stream.avail_out = block.size();
    result = lzma_code(&stream, LZMA_FINISH);
    text.append(block, 0, block.size() - stream.avail_out);
  }
  CHECK(result == LZMA_STREAM_END) << "xz error " << result;
  lzma_end(&stream);
  return text;
}

Metadata Load() {
  const boost::json::object file =
      boost::json::parse(DecompressXz(ReadFile("tests/testdata/text/gemma4_vocab.json.xz")))
          .as_object();
  using Strings = std::vector<std::string>;
  Metadata metadata;
  metadata.Set("tokenizer.ggml.model", std::string("gemma4"));
  metadata.Set("tokenizer.ggml.tokens", boost::json::value_to<Strings>(file.at("tokens")));
  metadata.Set("tokenizer.ggml.token_type",
               boost::json::value_to<std::vector<int32_t>>(file.at("token_type")));
  metadata.Set("tokenizer.ggml.merges", boost::json::value_to<Strings>(file.at("merges")));
  metadata.Set("tokenizer.ggml.bos_token_id", uint32_t{2});
  metadata.Set("tokenizer.ggml.eos_token_id", uint32_t{1});
  metadata.Set("tokenizer.ggml.unknown_token_id", uint32_t{3});
  metadata.Set("tokenizer.ggml.padding_token_id", uint32_t{0});
  metadata.Set("tokenizer.ggml.mask_token_id", uint32_t{4});
  metadata.Set("tokenizer.ggml.add_bos_token", true);
  metadata.Set("tokenizer.ggml.add_space_prefix", false);
  return metadata;
}

}  // namespace

const Metadata& RealVocabularyMetadata() {
  static const Metadata* metadata = new Metadata(Load());
  return *metadata;
}

std::shared_ptr<const Vocabulary> RealVocabulary() {
  static const auto* vocabulary = [] {
    auto loaded = Vocabulary::FromMetadata(RealVocabularyMetadata());
    CHECK_OK(loaded);
    return new std::shared_ptr<const Vocabulary>(*std::move(loaded));
  }();
  return *vocabulary;
}

}  // namespace facet::testing
