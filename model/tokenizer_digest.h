#ifndef FACET_MODEL_TOKENIZER_DIGEST_H_
#define FACET_MODEL_TOKENIZER_DIGEST_H_

#include <string>

#include "model/metadata.h"

namespace facet {

// SHA-256 over all that says which text token ids stand for: the entries under "tokenizer.", the
// chat template among them, as a GGUF file has them. 32 bytes.
std::string TokenizerDigest(const Metadata& metadata);

}  // namespace facet

#endif  // FACET_MODEL_TOKENIZER_DIGEST_H_
