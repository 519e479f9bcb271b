#ifndef FACET_MODEL_GRAMMAR_H_
#define FACET_MODEL_GRAMMAR_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "model/vocabulary.h"

namespace facet {

// Grammars of answers, written in XGrammar's form of EBNF: GBNF with the macros Token(id, ...),
// ExcludeToken(id, ...) and Regex("..."). The first rule is the whole answer. XGrammar stands
// behind this header alone; a build without it has UNIMPLEMENTED for everything here.

// Longer grammars are refused.
inline constexpr int kGrammarBytesMax = 128 << 10;

// Where one answer stands in its grammar. For one thread at a time; shares the compiled grammar
// with other matchers.
//
// A mask may allow ids that Accept refuses: masks are those of a wider grammar, without counts
// (grammar_relaxation.h), as a mask for each count would cost too much. Whoever draws an id that is
// refused clears its bit and draws again; FillExactMask ends a long row of refusals.
class GrammarMatcher {
 public:
  virtual ~GrammarMatcher() = default;

  // Which ids may come next: bit id % 32 of mask[id / 32]. Then the same after each of `drafts`, as
  // long as they fit. Gives back how many masks there are, the first included; the others are not
  // touched. A stop id is allowed where the answer may end. `masks` is cut into 1 + drafts.size()
  // equal parts; words beyond the vocabulary are cleared. REQUIRES: each part has at least
  // GrammarCompiler::mask_words() words.
  virtual int FillMasks(absl::Span<const int32_t> drafts, absl::Span<uint32_t> masks) = 0;
  // The ids that Accept would take. Up to a second where much is allowed.
  virtual void FillExactMask(absl::Span<uint32_t> mask) = 0;
  // Goes on by one id. False, and nothing changes: the id does not fit.
  virtual bool Accept(int32_t id) = 0;
  // Whether the answer may end here.
  virtual bool IsComplete() const = 0;
};

// Tells whether grammars can be compiled, at a small part of the cost. Safe to use from any thread.
class GrammarChecker {
 public:
  // The vocabulary's text is copied. UNIMPLEMENTED without XGrammar.
  static absl::StatusOr<std::unique_ptr<GrammarChecker>> Make(const Vocabulary& vocabulary);
  virtual ~GrammarChecker() = default;

  // INVALID_ARGUMENT says what is wrong with a grammar: malformed, too large, satisfied by nothing,
  // or too dear to compile, which is measured on a sample of the vocabulary.
  virtual absl::Status Check(absl::string_view ebnf) = 0;
};

// Compiles grammars for one vocabulary. Safe to use from any thread; compiling takes milliseconds
// and up to a few seconds of the caller's thread. Keeps the compiled grammars that were used last,
// up to a bound in memory, so that a grammar that comes again costs nothing.
class GrammarCompiler {
 public:
  // UNIMPLEMENTED without XGrammar. The first Compile takes half a second more and some 100 MB for
  // a large vocabulary, shared with the matchers: who sends no grammar does not pay for them.
  static absl::StatusOr<std::unique_ptr<GrammarCompiler>> Make(
      std::shared_ptr<const Vocabulary> vocabulary);
  virtual ~GrammarCompiler() = default;

  // A matcher at the beginning of the grammar, where `stop_ids` end the answer. INVALID_ARGUMENT as
  // GrammarChecker::Check.
  virtual absl::StatusOr<std::unique_ptr<GrammarMatcher>> Compile(
      absl::string_view ebnf, absl::Span<const int32_t> stop_ids) = 0;

  // 32-bit words of a mask.
  virtual int mask_words() const = 0;
};

}  // namespace facet

#endif  // FACET_MODEL_GRAMMAR_H_
