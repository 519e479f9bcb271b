#ifndef FACET_MODEL_DETOKENIZER_H_
#define FACET_MODEL_DETOKENIZER_H_

#include <memory>
#include <string>

#include "model/vocabulary.h"

namespace facet {

// Token ids to text, one stream. Never gives out half a UTF-8 character: byte pieces wait until
// the character they spell is whole. A run of byte pieces that is not UTF-8 as a whole becomes one
// U+FFFD for each byte, as Hugging Face's `tokenizers` does it; the well-formed characters that
// were already given out before the run broke stay. For one thread at a time.
class Detokenizer {
 public:
  // `skip_special`: control, user-defined and unknown pieces give no text.
  Detokenizer(std::shared_ptr<const Vocabulary> vocabulary, bool skip_special);

  // The text that `id` completes; may be empty. An id outside the vocabulary gives none.
  std::string Add(int id);
  // The rest. The next Add begins a new text.
  std::string Finish();

 private:
  const std::shared_ptr<const Vocabulary> vocabulary_;  // Shared with the Tokenizer and others.
  const bool skip_special_;
  std::string pending_;  // Bytes of byte pieces that are not given out yet.
};

}  // namespace facet

#endif  // FACET_MODEL_DETOKENIZER_H_
