#include "model/grammar.h"

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fake_worker/small_model.h"

namespace facet {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

constexpr int32_t kEnd = 1;  // <eos>

GrammarCompiler& Compiler() {
  static GrammarCompiler& compiler = *GrammarCompiler::Make(testing::SmallVocabulary())->release();
  return compiler;
}

std::unique_ptr<GrammarMatcher> Matcher(const std::string& ebnf) {
  auto matcher = Compiler().Compile(ebnf, {kEnd});
  EXPECT_OK(matcher);
  return *std::move(matcher);
}

// The texts of what a mask allows; byte pieces left out, which say the same again.
std::vector<std::string> TextsOf(absl::Span<const uint32_t> mask) {
  const Vocabulary& vocabulary = *testing::SmallVocabulary();
  std::vector<std::string> texts;
  for (int id = 0; id < vocabulary.size(); ++id) {
    if (vocabulary.type(id) == PieceType::kByte || (mask[id / 32] >> (id % 32) & 1) == 0) continue;
    texts.emplace_back(vocabulary.IsSpecial(id) ? vocabulary.piece(id) : vocabulary.text(id));
  }
  return texts;
}

std::vector<std::string> Allowed(GrammarMatcher& matcher) {
  std::vector<uint32_t> mask(Compiler().mask_words());
  EXPECT_EQ(matcher.FillMasks({}, absl::MakeSpan(mask)), 1);
  return TextsOf(mask);
}

void AcceptAll(GrammarMatcher& matcher, absl::string_view text) {
  for (const uint32_t id : testing::SmallIds(text)) {
    ASSERT_TRUE(matcher.Accept(static_cast<int32_t>(id))) << text;
  }
}

// Given two words, expect the pieces that begin one of them, and the end after one alone.
TEST(GrammarTest, AllowsWhatGoesOn) {
  const auto matcher = Matcher(R"(root ::= "the" | "tx")");
  EXPECT_THAT(Allowed(*matcher), UnorderedElementsAre("t", "th", "the"));
  EXPECT_FALSE(matcher->Accept(testing::SmallIds("x")[0]));
  EXPECT_FALSE(matcher->Accept(-1));
  EXPECT_FALSE(matcher->Accept(testing::SmallVocabulary()->size()));
  AcceptAll(*matcher, "th");
  EXPECT_FALSE(matcher->IsComplete());
  EXPECT_THAT(Allowed(*matcher), ElementsAre("e"));
  AcceptAll(*matcher, "e");
  EXPECT_TRUE(matcher->IsComplete());
  EXPECT_THAT(Allowed(*matcher), ElementsAre("<eos>"));
  EXPECT_TRUE(matcher->Accept(kEnd));
}

// Tokens without text are matched by their ids alone, and what spells them is other text.
TEST(GrammarTest, TellsTokensFromTheirSpelling) {
  const int quote = *testing::SmallVocabulary()->roles().string_quote;
  const auto matcher =
      Matcher(absl::StrCat("root ::= Token(", quote, ") [^a-z]* Token(", quote, ")"));
  EXPECT_THAT(Allowed(*matcher), ElementsAre("<|\"|>"));
  ASSERT_TRUE(matcher->Accept(quote));
  for (const char c : std::string("<|\"|>")) {
    EXPECT_TRUE(matcher->Accept(testing::SmallIds(std::string(1, c))[0])) << c;
  }
  EXPECT_FALSE(matcher->IsComplete());
  EXPECT_FALSE(matcher->Accept(kEnd));
  EXPECT_TRUE(matcher->Accept(quote));
  EXPECT_TRUE(matcher->IsComplete());
}

// Given drafts of which the third does not fit, expect masks as they are one by one, and the state
// untouched.
TEST(GrammarTest, FillsMasksAlongDrafts) {
  const std::string ebnf = R"(root ::= "a" "b"? "c" "d")";
  const int words = Compiler().mask_words();
  const auto matcher = Matcher(ebnf), other = Matcher(ebnf);
  const std::vector<uint32_t> ids = testing::SmallIds("abbc");
  const std::vector<int32_t> drafts(ids.begin(), ids.end());
  std::vector<uint32_t> masks((drafts.size() + 1) * words);
  ASSERT_EQ(matcher->FillMasks(drafts, absl::MakeSpan(masks)), 3);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(TextsOf(absl::MakeSpan(masks).subspan(i * words, words)), Allowed(*other)) << i;
    if (i < 2) {
      ASSERT_TRUE(other->Accept(drafts[i]));
    }
  }
  EXPECT_THAT(Allowed(*matcher), ElementsAre("a"));
  AcceptAll(*matcher, "acd");
}

// A draft that ends the answer has no mask after it, and the end is taken back.
TEST(GrammarTest, TakesBackADraftedEnd) {
  const auto matcher = Matcher(R"(root ::= "a")");
  const std::vector<int32_t> drafts = {static_cast<int32_t>(testing::SmallIds("a")[0]), kEnd, 5};
  std::vector<uint32_t> masks(4 * Compiler().mask_words());
  EXPECT_EQ(matcher->FillMasks(drafts, absl::MakeSpan(masks)), 2);
  EXPECT_THAT(Allowed(*matcher), ElementsAre("a"));
  AcceptAll(*matcher, "a");
  EXPECT_TRUE(matcher->Accept(kEnd));
}

// Counts are kept by Accept though masks are wider, and the exact mask has just what it takes.
TEST(GrammarTest, KeepsCountsThatMasksLeaveOut) {
  for (const char* ebnf :
       {R"(root ::= "<" [a-z]{2,3} ">")", R"(root ::= "<" Regex("[a-z]{2,3}") ">")",
        R"(root ::= "<" x{2,3} ">"
x ::= [a-z])"}) {
    const auto matcher = Matcher(ebnf);
    AcceptAll(*matcher, "<a");
    std::mt19937 random(1);
    std::vector<uint32_t> exact(Compiler().mask_words()), wide(exact.size());
    for (int step = 0; step < 3; ++step) {
      matcher->FillExactMask(absl::MakeSpan(exact));
      matcher->FillMasks({}, absl::MakeSpan(wide));
      for (int id = 0; id < testing::SmallVocabulary()->size(); ++id) {
        const bool allowed = exact[id / 32] >> (id % 32) & 1;
        EXPECT_TRUE(!allowed || (wide[id / 32] >> (id % 32) & 1) != 0) << id;
        const auto fresh = Matcher(ebnf);
        AcceptAll(*fresh, std::string("<abc").substr(0, 2 + step));
        EXPECT_EQ(fresh->Accept(id), allowed) << ebnf << " " << id << " step " << step;
      }
      if (step < 2) AcceptAll(*matcher, std::string(1, "bc"[step]));
    }
    EXPECT_FALSE(matcher->Accept(testing::SmallIds("d")[0]));
    AcceptAll(*matcher, ">");
    EXPECT_TRUE(matcher->IsComplete());
  }
}

// What cannot be compiled, or would take too long, is refused with its reason.
TEST(GrammarTest, RefusesBadGrammars) {
  std::string large = "root ::= \"";
  large.append(kGrammarBytesMax, 'a');
  const struct {
    std::string ebnf, message;
  } cases[] = {
      {"", "grammar"},
      {"root ::= ", "grammar"},
      {"root ::= y", "y"},
      {"root ::= (\"a\"", "grammar"},
      {"root ::= [a", "grammar"},
      {"root ::= Regex(\"(a\")", "grammar"},
      {"root ::= Token(1000000)", "grammar"},
      {"root ::= root", "`root` always comes to itself"},
      {"root ::= \"a\" root", "no answer can ever end: rule `root`"},
      {"root ::= \"[\" item \"]\"\nitem ::= [0-9] item | root", "`item` always comes to itself"},
      {"root ::= " + std::string(50000, '(') + "\"a\"" + std::string(50000, ')'), "grammar"},
      {large + "\"", "more than the limit"},
  };
  const auto checker = GrammarChecker::Make(*testing::SmallVocabulary());
  ASSERT_OK(checker);
  for (const auto& [ebnf, message] : cases) {
    const absl::Status status = Compiler().Compile(ebnf, {kEnd}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << ebnf.substr(0, 40);
    EXPECT_THAT(std::string(status.message()), HasSubstr(message)) << ebnf.substr(0, 40);
    EXPECT_EQ((*checker)->Check(ebnf), status);
  }
}

}  // namespace
}  // namespace facet
