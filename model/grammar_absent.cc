// Stands in for grammar.cc where XGrammar is not installed.
#include "model/grammar.h"

namespace facet {
namespace {

absl::Status Absent() {
  return absl::UnimplementedError(
      "grammar: this build has no structured output; it was made without XGrammar");
}

}  // namespace

absl::StatusOr<std::unique_ptr<GrammarChecker>> GrammarChecker::Make(const Vocabulary& vocabulary) {
  return Absent();
}

absl::StatusOr<std::unique_ptr<GrammarCompiler>> GrammarCompiler::Make(
    std::shared_ptr<const Vocabulary> vocabulary) {
  return Absent();
}

}  // namespace facet
