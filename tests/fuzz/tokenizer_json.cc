// A tokenizer.json: refused with the metadata unchanged, or as many types as pieces. A vocabulary
// that is taken cuts any text into pieces that spell it.

#include "model/tokenizer_json.h"

#include <string>

#include "absl/strings/str_replace.h"
#include "base/check.h"
#include "model/tokenizer.h"
#include "model/vocabulary.h"
#include "tests/fuzz/fuzz_target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  facet::Metadata metadata;
  const absl::string_view text = facet::AsText(data, size);
  if (!facet::AddTokenizerJson(text, metadata).ok()) {
    CHECK(metadata.values().empty());
    return 0;
  }
  const auto pieces = metadata.GetStrings("tokenizer.ggml.tokens");
  const auto types = metadata.GetInts("tokenizer.ggml.token_type");
  CHECK_OK(pieces);
  CHECK_OK(types);
  CHECK_EQ((*pieces)->size(), types->size());
  const auto vocabulary = facet::Vocabulary::FromMetadata(metadata);
  if (!vocabulary.ok()) return 0;
  const facet::Tokenizer tokenizer(*vocabulary);
  std::string spelled;
  const absl::string_view prose = "a bb  ab <bos> \xE2\x96\x81\xF0\x9F\x98\x80";
  for (const int id : tokenizer.Encode(prose)) spelled += std::string((*vocabulary)->text(id));
  // Without a piece '▁', a space is the three bytes of that character, which is what it was.
  const auto spaced = [](absl::string_view marked) {
    return absl::StrReplaceAll(marked, {{"▁", " "}});
  };
  CHECK_EQ(spaced(spelled), spaced(prose));
  return 0;
}
