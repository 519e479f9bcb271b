#include "model/grammar_relaxation.h"

#include "gtest/gtest.h"

namespace facet {
namespace {

// Counts become * where nothing may stand there, and + elsewhere.
TEST(GrammarRelaxationTest, RelaxesCountsOfRules) {
  EXPECT_EQ(RelaxCounts(R"(root ::= [a-z]{3} x{0,9} (y | z){2,} "a"{1} b{0})"),
            R"(root ::= [a-z]+ x* (y | z)+ "a"+ b*)");
}

// Given a rule for many of another, expect it for counts of that one alone.
TEST(GrammarRelaxationTest, TakesTheRuleForMany) {
  EXPECT_EQ(RelaxCounts("root ::= x{2,3} xx{2} x {4}\nx_many ::= [a]*\n"),
            "root ::= x_many xx+ x +\nx_many ::= [a]*\n");
}

// Given a blank that may be left out, expect any number of them; other options stay.
TEST(GrammarRelaxationTest, RelaxesOptionalBlanks) {
  EXPECT_EQ(RelaxCounts(R"(root ::= ("," " "? x) " " "a"? "  "? [ ]? y?)"),
            R"(root ::= ("," [ ]* x) " " "a"? "  "? [ ]? y?)");
}

// What is no count stays: braces in strings, classes, comments, and counts of digits.
TEST(GrammarRelaxationTest, KeepsTextAndCountsOfDigits) {
  for (const char* ebnf :
       {R"(root ::= "{3}" [{3}]* # x{3}
x ::= [0-9]{4} [0-9a-fA-F]{2,99})",
        R"(root ::= "\"{3}")", R"(root ::= Regex("\\d{4}\\{3}[{9}]\"", flags="u"))", "root ::= \"",
        "root ::= [", "root ::= \\"}) {
    EXPECT_EQ(RelaxCounts(ebnf), ebnf);
  }
}

// Given a regular expression with quotes and backslashes, expect its counts relaxed and it whole.
TEST(GrammarRelaxationTest, RelaxesCountsInRegularExpressions) {
  EXPECT_EQ(RelaxCounts(R"(root ::= "{1}" Regex("(\\w{2}|\"\\\\{0,3}){1,5}", flags="u") y{2})"),
            R"(root ::= "{1}" Regex("(\\w+|\"\\\\*)+", flags="u") y+)");
}

}  // namespace
}  // namespace facet
