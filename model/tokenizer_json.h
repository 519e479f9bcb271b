#ifndef FACET_MODEL_TOKENIZER_JSON_H_
#define FACET_MODEL_TOKENIZER_JSON_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "model/metadata.h"

namespace facet {

// Reads a Hugging Face tokenizer.json and sets the tokenizer.ggml.* keys that a GGUF file of the
// same model has: model, tokens, token_type, merges, bos/eos/unknown/padding/mask_token_id,
// add_bos_token, add_space_prefix. INVALID_ARGUMENT names the field that is missing or wrong, also
// when the file describes another kind of tokenizer than Gemma 4's (byte-fallback BPE whose
// normaliser turns spaces into '▁'); `metadata` is then unchanged.
absl::Status AddTokenizerJson(absl::string_view json, Metadata& metadata);

}  // namespace facet

#endif  // FACET_MODEL_TOKENIZER_JSON_H_
