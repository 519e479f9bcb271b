#ifndef FACET_MODEL_NUMBER_GRAMMAR_H_
#define FACET_MODEL_NUMBER_GRAMMAR_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"

namespace facet {

// EBNF expressions (model/grammar.h) of JSON numbers between two bounds, both included.

// The greatest integer that is written: 18 digits, which any 64-bit reader takes.
inline constexpr int64_t kGrammarIntegerMax = 999'999'999'999'999'999;

// Integers in [low, high]. REQUIRES: -kGrammarIntegerMax <= low <= high <= kGrammarIntegerMax.
std::string IntegerGrammar(int64_t low, int64_t high);

struct NumberBounds {
  std::optional<double> low, high;
  bool low_excluded = false, high_excluded = false;
};

// Numbers within the bounds, without exponents if there are any. Some numbers that lie within are
// left out: more than 15 digits, and those within a hundredth of the last decimal of an excluded
// bound. INVALID_ARGUMENT: none is left, or a bound has more than 6 decimals or 12 digits before.
absl::StatusOr<std::string> NumberGrammar(const NumberBounds& bounds);

}  // namespace facet

#endif  // FACET_MODEL_NUMBER_GRAMMAR_H_
