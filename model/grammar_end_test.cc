#include "model/grammar_end.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace facet {
namespace {

using ::facet::testing::StatusIs;
using ::testing::HasSubstr;

// Given grammars some answer of which ends, expect no complaint, whatever the others do.
TEST(GrammarEndTest, TakesWhatCanEnd) {
  for (const char* grammar : {
           R"(root ::= (("a")))",
           R"(root ::= ("" | ("a" root)))",
           R"(root ::= (("a" root) | ("b")))",
           "root ::= ((a b))\na ::= ((b) | (a))\nb ::= ([a-z]*)\n",
           "root ::= ((\"x\" never) | (\"y\"))\nnever ::= ((\"a\" never))\n",
           "root ::= ((never{0, 3}))\nnever ::= ((never))\n",
           "root ::= ((Token(1, 2) ExcludeToken(3)))\n",
           R"x(root ::= ((Regex("(\"root")) (=(root))))x",
           R"x(root[max_tokens=5] ::= (("(" [(|\]"] ")")))x",
           "root ::= ((a{2, 3}))\na ::= ((\"x\"))\n",
       }) {
    EXPECT_OK(CheckCanEnd(grammar)) << grammar;
  }
}

// Given grammars under which nothing ends, expect a rule that is at fault.
TEST(GrammarEndTest, RefusesWhatCannotEnd) {
  const struct {
    std::string grammar, rule;
  } kCases[] = {
      {R"(root ::= (("a" root)))", "root"},
      {"root ::= ((root))", "root"},
      {"root ::= ((\"a\" list))\nlist ::= ((\"[\" item \"]\"))\nitem ::= ((\"x\" list) | (item))\n",
       "list"},
      {"root ::= ((\"x\" a{1, 3}))\na ::= ((a))\n", "a"},
      {"root ::= ((\"x\" (\"y\" | a) a))\na ::= ((\"z\" a))\n", "a"},
      {"root ::= ((a) | (b))\na ::= ((b))\nb ::= ((a))\n", "a"},
  };
  for (const auto& c : kCases) {
    EXPECT_THAT(CheckCanEnd(c.grammar),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("`" + c.rule + "`")))
        << c.grammar;
  }
}

// Given a chain of 20,000 rules in the worst order, expect an answer in the time of a test, and
// none from the stack.
TEST(GrammarEndTest, LongChains) {
  constexpr int kRules = 20'000;
  std::string grammar = "root ::= ((r0))\n";
  for (int i = 0; i < kRules; ++i) absl::StrAppend(&grammar, "r", i, " ::= ((r", i + 1, "))\n");
  EXPECT_OK(CheckCanEnd(grammar + "r20000 ::= ((\"x\"))\n"));
  EXPECT_FALSE(CheckCanEnd(grammar + "r20000 ::= ((r0))\n").ok());
  const std::string deep =
      absl::StrCat("root ::= ", std::string(kRules, '('), "root", std::string(kRules, ')'));
  EXPECT_FALSE(CheckCanEnd(deep).ok());
}

// Given another form, expect no judgement.
TEST(GrammarEndTest, LeavesOtherFormsAlone) {
  for (const char* grammar : {"", "((root", "root ::= root)", "= root", "root ::= root ; x"}) {
    EXPECT_OK(CheckCanEnd(grammar)) << grammar;
  }
}

}  // namespace
}  // namespace facet
