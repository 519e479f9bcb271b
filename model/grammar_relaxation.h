#ifndef FACET_MODEL_GRAMMAR_RELAXATION_H_
#define FACET_MODEL_GRAMMAR_RELAXATION_H_

#include <string>

#include "absl/strings/string_view.h"

namespace facet {

// A grammar that accepts whatever `ebnf` does, and more: counts in braces become `*` or `+`, in
// rules and in Regex("...") alike. Counted repeats of wide classes make masks of a large vocabulary
// dear: each count has one of its own, at 40 to 100 ms. Counts of up to 99 digits stay,
// since few tokens have digits.
std::string RelaxCounts(absl::string_view ebnf);

}  // namespace facet

#endif  // FACET_MODEL_GRAMMAR_RELAXATION_H_
