#include "model/tokenizer_digest.h"

#include "absl/strings/match.h"
#include "base/sha256.h"
#include "model/gguf_writer.h"

namespace facet {

std::string TokenizerDigest(const Metadata& metadata) {
  Metadata tokenizer;
  for (const auto& [key, value] : metadata.values()) {
    if (absl::StartsWith(key, "tokenizer.")) tokenizer.Set(key, value);
  }
  return Sha256({WriteGgufMetadata(tokenizer)});
}

}  // namespace facet
