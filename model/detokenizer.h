#ifndef FACET_MODEL_DETOKENIZER_H_
#define FACET_MODEL_DETOKENIZER_H_

#include <memory>
#include <string>

#include "model/vocabulary.h"

namespace facet {

// Token ids to text, one stream. Always gives out whole UTF-8 characters. A run of byte pieces
// waits until it ends: it is text if it is UTF-8 as a whole, and else one U+FFFD for each byte, as
// Hugging Face's `tokenizers` has it. Every other piece is given out at once. For one thread at a
// time.
class Detokenizer {
 public:
  // `skip_special`: control, user-defined and unknown pieces give no text.
  // The vocabulary is shared with the Tokenizer and every other stream.
  Detokenizer(std::shared_ptr<const Vocabulary> vocabulary, bool skip_special);

  // The text that `id` completes; may be empty. An id outside the vocabulary gives none.
  std::string Add(int id);
  // The run of byte pieces that waits, if any. The next Add begins a new text.
  std::string Finish();

 private:
  const std::shared_ptr<const Vocabulary> vocabulary_;
  const bool skip_special_;
  std::string bytes_;  // Of the run that waits.
};

}  // namespace facet

#endif  // FACET_MODEL_DETOKENIZER_H_
