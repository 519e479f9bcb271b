#include "model/grammar.h"

#include <time.h>

#include <algorithm>
#include <exception>
#include <mutex>
#include <numeric>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "model/grammar_end.h"
#include "model/grammar_relaxation.h"
#include "xgrammar/xgrammar.h"

namespace facet {
namespace {

// Compiled grammars that are kept, for masks; the others are small.
constexpr int64_t kMaskCacheBytesMax = int64_t{256} << 20;
constexpr int64_t kCacheBytesMax = int64_t{32} << 20;
// Of 262,144 pieces, 64 and 4,096: what compiling costs is first seen on these.
constexpr int kFirstSample = 4096;
constexpr int kSecondSample = 64;
// What a grammar may take to compile by what the samples took, in processor time: on the worker's
// own thread for grammars. An error of 15 ms in the samples, as on a machine that others use too,
// is one of a second here. What a sample itself may take is less, for a router checks every
// grammar.
constexpr double kCompileSecondsMax = 4.0;
constexpr double kSampleSecondsMax = 0.2;

// XGrammar's messages begin with time and place in its own source, and one may be long.
std::string Reason(const std::exception& error) {
  absl::string_view message = error.what();
  if (const size_t place = message.find(".cc:"); place != message.npos) {
    const size_t text = message.find(": ", place);
    if (text != message.npos) message.remove_prefix(text + 2);
  }
  return std::string(absl::StripSuffix(message, "\n").substr(0, 500));
}

// XGrammar throws; nothing of that passes this file.
template <typename Result, typename Body>
absl::StatusOr<Result> WithoutExceptions(const Body& body) {
  try {
    return body();
  } catch (const std::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat("grammar: ", Reason(error)));
  }
}

// The name of the first rule.
std::string RootOf(absl::string_view ebnf) {
  return std::string(absl::StripAsciiWhitespace(ebnf.substr(0, ebnf.find("::="))));
}

double ThreadSeconds() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

bool HasText(const Vocabulary& vocabulary, int id) {
  return !vocabulary.IsSpecial(id) && vocabulary.type(id) != PieceType::kUnused;
}

// Ids without text of their own (control and user-defined pieces) get one that is no UTF-8, so that
// Token() and ExcludeToken() alone match them. With sample 0 all ids do, for matchers that are
// given text as strings; otherwise one of `sample` pieces keeps its text, and the others are as if
// they did not exist.
xgrammar::TokenizerInfo TokenizerOf(const Vocabulary& vocabulary, int sample) {
  std::vector<std::string> texts;
  texts.reserve(vocabulary.size());
  for (int id = 0; id < vocabulary.size(); ++id) {
    if (sample == 0 || !HasText(vocabulary, id)) {
      texts.push_back(absl::StrCat("\xFF", id));
    } else {
      texts.emplace_back(id % sample == 0 ? vocabulary.text(id) : "");
    }
  }
  return xgrammar::TokenizerInfo(texts, xgrammar::VocabType::RAW, vocabulary.size(),
                                 vocabulary.stop_ids());
}

xgrammar::GrammarCompiler CompilerOf(const Vocabulary& vocabulary, int sample) {
  return xgrammar::GrammarCompiler(TokenizerOf(vocabulary, sample), /*max_threads=*/1,
                                   /*cache_enabled=*/true,
                                   sample == 1 ? kMaskCacheBytesMax : kCacheBytesMax);
}

absl::Status CheckSize(absl::string_view ebnf) {
  if (ebnf.size() <= kGrammarBytesMax) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("grammar: ", ebnf.size(), " bytes, more than the limit of ", kGrammarBytesMax));
}

class XGrammarChecker final : public GrammarChecker {
 public:
  explicit XGrammarChecker(const Vocabulary& vocabulary)
      : exact_(CompilerOf(vocabulary, 0)),
        first_(CompilerOf(vocabulary, kFirstSample)),
        second_(CompilerOf(vocabulary, kSecondSample)),
        uncached_(TokenizerOf(vocabulary, 0), /*max_threads=*/1, /*cache_enabled=*/false) {}

  absl::Status Check(absl::string_view ebnf) override {
    RETURN_IF_ERROR(CheckSize(ebnf));
    return WithoutExceptions<int>([&]() -> absl::StatusOr<int> {
             RETURN_IF_ERROR(CheckEnd(std::string(ebnf)));
             Exact(std::string(ebnf));
             const std::string relaxed = RelaxCounts(ebnf);
             // What does not depend on the vocabulary is in both.
             ASSIGN_OR_RETURN(const double fixed, Cost(first_, relaxed));
             ASSIGN_OR_RETURN(const double more, Cost(second_, relaxed));
             const double whole = more + (more - fixed) * kSecondSample;
             if (whole > kCompileSecondsMax) return TooDear(whole);
             return 0;
           })
        .status();
  }

  // Compiles for acceptance alone, without the text of any piece.
  xgrammar::CompiledGrammar Exact(const std::string& ebnf) {
    try {
      return exact_.CompileGrammar(ebnf, RootOf(ebnf));
    } catch (const std::exception&) {
      // With its cache, XGrammar 0.2.8 fails on counts beyond 128 in regular expressions.
      return uncached_.CompileGrammar(ebnf, RootOf(ebnf));
    }
  }

 private:
  static absl::Status CheckEnd(const std::string& ebnf) {
    const absl::Status status =
        CheckCanEnd(xgrammar::Grammar::FromEBNF(ebnf, RootOf(ebnf)).ToString());
    if (status.ok()) return status;
    return absl::InvalidArgumentError(absl::StrCat("grammar: ", status.message()));
  }

  static absl::Status TooDear(double seconds) {
    return absl::InvalidArgumentError(
        absl::StrFormat("grammar: too large: compiling it would take %.1f s", seconds));
  }

  static absl::StatusOr<double> Cost(xgrammar::GrammarCompiler& compiler, const std::string& ebnf) {
    const double begin = ThreadSeconds();
    compiler.CompileGrammar(ebnf, RootOf(ebnf));
    const double took = ThreadSeconds() - begin;
    if (took > kSampleSecondsMax) return TooDear(took * kSecondSample);
    return took;
  }

  xgrammar::GrammarCompiler exact_, first_, second_, uncached_;
};

// The pieces that have text, by that text: those with a common beginning stand together.
struct SortedTexts {
  explicit SortedTexts(std::shared_ptr<const Vocabulary> shared) : vocabulary(std::move(shared)) {
    for (int id = 0; id < vocabulary->size(); ++id) {
      if (HasText(*vocabulary, id)) ids.push_back(id);
    }
    std::sort(ids.begin(), ids.end(),
              [&](int a, int b) { return vocabulary->text(a) < vocabulary->text(b); });
  }
  const std::shared_ptr<const Vocabulary> vocabulary;
  std::vector<int> ids;
};

class XGrammarMatcher final : public GrammarMatcher {
 public:
  XGrammarMatcher(const xgrammar::CompiledGrammar& wide, const xgrammar::CompiledGrammar& exact,
                  const std::vector<int>& stop_ids, std::shared_ptr<const SortedTexts> texts)
      : wide_(wide, stop_ids), exact_(exact, stop_ids), texts_(std::move(texts)) {}

  int FillMasks(absl::Span<const int32_t> drafts, absl::Span<uint32_t> masks) override {
    const size_t words = masks.size() / (drafts.size() + 1);
    int count = 0;
    for (;; ++count) {
      Fill(wide_, masks.subspan(count * words, words));
      if (static_cast<size_t>(count) == drafts.size() || wide_.IsTerminated() ||
          !IsPiece(drafts[count]) || !wide_.AcceptToken(drafts[count]) || wide_.IsTerminated()) {
        break;
      }
    }
    // A draft that ends the answer is accepted, and has no mask after it.
    wide_.Rollback(count + (wide_.IsTerminated() ? 1 : 0));
    return count + 1;
  }

  void FillExactMask(absl::Span<uint32_t> mask) override {
    const auto allow = [&](int id) { mask[id / 32] |= uint32_t{1} << (id % 32); };
    Fill(exact_, mask);  // of what the grammar has as tokens
    // Bytes that are accepted stay so for the next piece, as far as it begins with them.
    std::string accepted;
    absl::string_view refused;  // no piece that begins with this fits
    for (const int id : texts_->ids) {
      const absl::string_view text = texts_->vocabulary->text(id);
      if (text.empty() || (!refused.empty() && text.substr(0, refused.size()) == refused)) continue;
      const auto differs =
          std::mismatch(accepted.begin(), accepted.end(), text.begin(), text.end());
      const size_t common = differs.first - accepted.begin();
      if (common < accepted.size()) exact_.Rollback(static_cast<int>(accepted.size() - common));
      accepted.resize(common);
      while (accepted.size() < text.size() &&
             exact_.AcceptString(std::string(1, text[accepted.size()]))) {
        accepted += text[accepted.size()];
      }
      refused = text.substr(0, accepted.size() + 1);
      if (accepted.size() == text.size()) {
        refused = {};
        allow(id);
      }
    }
    if (!accepted.empty()) exact_.Rollback(static_cast<int>(accepted.size()));
  }

  bool Accept(int32_t id) override {
    const Vocabulary& vocabulary = *texts_->vocabulary;
    if (!IsPiece(id)) return false;
    // As text where the grammar has text, and as a token where it has tokens.
    const bool fits =
        (HasText(vocabulary, id) && exact_.AcceptString(std::string(vocabulary.text(id)))) ||
        exact_.AcceptToken(id);
    if (!fits) return false;
    if (wide_.AcceptToken(id)) return true;
    exact_.Rollback();
    return false;
  }

  bool IsComplete() const override { return exact_.IsCompleted(); }

 private:
  bool IsPiece(int32_t id) const { return id >= 0 && id < texts_->vocabulary->size(); }

  // XGrammar takes no more than the words of its vocabulary.
  void Fill(xgrammar::GrammarMatcher& matcher, absl::Span<uint32_t> mask) {
    const size_t words = (texts_->vocabulary->size() + 31) / 32;
    std::fill(mask.begin() + static_cast<int64_t>(words), mask.end(), 0);
    int64_t shape[] = {static_cast<int64_t>(words)};
    DLTensor tensor = {mask.data(), {kDLCPU, 0}, 1, {kDLInt, 32, 1}, shape, nullptr, 0};
    matcher.FillNextTokenBitmask(&tensor);
  }

  xgrammar::GrammarMatcher wide_;   // of the grammar without counts, whose masks are cheap
  xgrammar::GrammarMatcher exact_;  // knows no text of pieces, and takes them as strings
  const std::shared_ptr<const SortedTexts> texts_;  // shared with all matchers of the compiler
};

class XGrammarCompiler final : public GrammarCompiler {
 public:
  explicit XGrammarCompiler(std::shared_ptr<const Vocabulary> vocabulary)
      : vocabulary_(std::move(vocabulary)) {}

  absl::StatusOr<std::unique_ptr<GrammarMatcher>> Compile(
      absl::string_view ebnf, absl::Span<const int32_t> stop_ids) override {
    return WithoutExceptions<std::unique_ptr<GrammarMatcher>>(
        [&]() -> absl::StatusOr<std::unique_ptr<GrammarMatcher>> {
          std::call_once(made_, [this] { tables_ = std::make_unique<Tables>(vocabulary_); });
          RETURN_IF_ERROR(tables_->checker.Check(ebnf));
          auto matcher = std::make_unique<XGrammarMatcher>(
              tables_->wide.CompileGrammar(RelaxCounts(ebnf), RootOf(ebnf)),
              tables_->checker.Exact(std::string(ebnf)),
              std::vector<int>(stop_ids.begin(), stop_ids.end()), tables_->texts);
          std::vector<uint32_t> mask(mask_words());
          matcher->FillMasks({}, absl::MakeSpan(mask));
          if (std::all_of(mask.begin(), mask.end(), [](uint32_t word) { return word == 0; })) {
            return absl::InvalidArgumentError("grammar: no answer satisfies it");
          }
          return matcher;
        });
  }

  int mask_words() const override { return (vocabulary_->size() + 31) / 32; }

 private:
  struct Tables {
    explicit Tables(const std::shared_ptr<const Vocabulary>& vocabulary)
        : texts(std::make_shared<const SortedTexts>(vocabulary)),
          checker(*vocabulary),
          wide(CompilerOf(*vocabulary, 1)) {}
    const std::shared_ptr<const SortedTexts> texts;  // shared with the matchers
    XGrammarChecker checker;
    xgrammar::GrammarCompiler wide;
  };

  const std::shared_ptr<const Vocabulary> vocabulary_;
  std::once_flag made_;
  std::unique_ptr<Tables> tables_;  // made by the first Compile
};

}  // namespace

absl::StatusOr<std::unique_ptr<GrammarChecker>> GrammarChecker::Make(const Vocabulary& vocabulary) {
  return WithoutExceptions<std::unique_ptr<GrammarChecker>>(
      [&] { return std::make_unique<XGrammarChecker>(vocabulary); });
}

absl::StatusOr<std::unique_ptr<GrammarCompiler>> GrammarCompiler::Make(
    std::shared_ptr<const Vocabulary> vocabulary) {
  return WithoutExceptions<std::unique_ptr<GrammarCompiler>>(
      [&] { return std::make_unique<XGrammarCompiler>(std::move(vocabulary)); });
}

}  // namespace facet
