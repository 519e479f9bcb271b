#ifndef FACET_MODEL_GRAMMAR_END_H_
#define FACET_MODEL_GRAMMAR_END_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace facet {

// INVALID_ARGUMENT if no answer under the first rule of `grammar` ever ends, because each way
// through it comes to a rule that needs itself: root ::= "a" root. The message names such a rule.
// `grammar` is in the plain form that XGrammar prints: rules of choices, sequences, names, strings,
// classes and macros. OK too where that form is not met, as then nothing can be told. Takes time
// and memory by the length of the text.
absl::Status CheckCanEnd(absl::string_view grammar);

}  // namespace facet

#endif  // FACET_MODEL_GRAMMAR_END_H_
