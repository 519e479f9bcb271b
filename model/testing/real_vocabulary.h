#ifndef FACET_MODEL_TESTING_REAL_VOCABULARY_H_
#define FACET_MODEL_TESTING_REAL_VOCABULARY_H_

#include <memory>
#include <vector>

#include "model/metadata.h"
#include "model/vocabulary.h"

namespace facet::testing {

// Gemma 4's own vocabulary, as a GGUF file gives it. Read once, kept until the process ends.
const Metadata& RealVocabularyMetadata();
std::shared_ptr<const Vocabulary> RealVocabulary();

}  // namespace facet::testing

#endif  // FACET_MODEL_TESTING_REAL_VOCABULARY_H_
