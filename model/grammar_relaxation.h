#ifndef FACET_MODEL_GRAMMAR_RELAXATION_H_
#define FACET_MODEL_GRAMMAR_RELAXATION_H_

#include <string>

#include "absl/strings/string_view.h"

namespace facet {

// A grammar that accepts whatever `ebnf` does, and more: counts in braces become `*` or `+`, in
// rules and in Regex("...") alike. Counted repeats of wide classes make masks of a large vocabulary
// dear: each count has one of its own, at 40 to 100 ms. Counts of up to 99 digits stay,
// since few tokens have digits.
// So does a blank that may be left out, `" "?`: as a rule of its own it would make every piece that
// begins with a blank, half of all, uncertain until what follows the rule is looked at; as a
// repeated class it is part of the rule around it.
//
// Where a rule x is counted and the grammar has a rule x_many, at the beginning of a line, that one
// stands for it: it must accept any number of x, and may be written so that its masks are cheap.
std::string RelaxCounts(absl::string_view ebnf);

}  // namespace facet

#endif  // FACET_MODEL_GRAMMAR_RELAXATION_H_
