// Answers of a grammar: what the engine owes them beside what it owes all.

#include <cstdint>
#include <string>
#include <vector>

#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/grammar.h"
#include "worker/testing/test_engine.h"

namespace facet {
namespace {

using ::facet::testing::Compiler;
using ::facet::testing::EngineShape;
using ::facet::testing::ExpectSameAnswer;
using ::facet::testing::kGrammar;
using ::facet::testing::Request;
using ::facet::testing::Result;
using ::facet::testing::StatusIs;
using ::facet::testing::TestEngine;
using ::testing::HasSubstr;

// Whether a grammar's answer is whole, and fits.
void ExpectFits(const std::string& grammar, const Result& result, bool whole) {
  const auto matcher = Compiler()->Compile(grammar, {1});
  ASSERT_OK(matcher);
  for (const uint32_t id : result.tokens) {
    ASSERT_TRUE((*matcher)->Accept(static_cast<int32_t>(id))) << id;
  }
  EXPECT_EQ((*matcher)->IsComplete(), whole);
}

// Given a grammar, expect each answer to fit it and to end where it ends; alone, with drafts, and
// resumed after each of its tokens, the same.
TEST(EngineGrammarTest, GrammarsObeyTheLawOfServing) {
  EngineShape drafting;
  drafting.drafts_max = 4;
  TestEngine test, drafted(drafting);
  test.engine->Start();
  drafted.engine->Start();
  int stopped = 0;
  uint32_t accepted = 0;
  for (uint64_t i = 0; i < 12; ++i) {
    v1::GenerateRequest request = Request({2, 300 + static_cast<uint32_t>(i), 97}, 60);
    request.set_grammar(kGrammar);
    request.add_stop_tokens(1);
    request.mutable_sampling()->set_temperature(i % 3 == 0 ? 0.0f : 1.0f);
    request.mutable_sampling()->set_seed(i);
    const Result whole = test.Run(request, i);
    const bool stop = whole.finish_reason == v1::FINISH_REASON_STOP;
    stopped += stop ? 1 : 0;
    ExpectFits(kGrammar, whole, stop);
    std::vector<int32_t> tokens(request.prompt_tokens().begin(), request.prompt_tokens().end());
    tokens.insert(tokens.end(), whole.tokens.begin(), whole.tokens.end());
    drafted.drafter->Tell(tokens);
    const Result with_drafts = drafted.Run(request, i);
    ExpectSameAnswer(with_drafts, whole);
    accepted += with_drafts.ledger.drafts_accepted();
    for (size_t broken = 1; broken < whole.tokens.size(); ++broken) {
      v1::GenerateRequest resumed = request;
      resumed.mutable_resume_from()->Add(whole.tokens.begin(), whole.tokens.begin() + broken);
      const Result rest = test.Run(resumed, 1000 * (i + 1) + broken);
      EXPECT_EQ(rest.tokens,
                std::vector<uint32_t>(whole.tokens.begin() + broken, whole.tokens.end()));
      EXPECT_EQ(rest.finish_reason, whole.finish_reason);
    }
  }
  EXPECT_GT(stopped, 0);
  EXPECT_GT(accepted, 50);
}

// A grammar that does not compile, that the resumed tokens do not fit, or that cannot end, is an
// error of the request that names it, and nothing else suffers.
TEST(EngineGrammarTest, RefusesBadGrammars) {
  TestEngine test;
  v1::GenerateRequest request = Request({2, 300}, 8);
  request.set_grammar("root ::= (");
  EXPECT_THAT(test.engine->Submit(request, test.results, 0),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("stop_tokens")));
  request.add_stop_tokens(1);
  test.engine->Start();
  const Result malformed = test.Run(request, 1);
  EXPECT_EQ(malformed.finish_reason, v1::FINISH_REASON_ERROR);
  EXPECT_THAT(malformed.error, HasSubstr("grammar"));
  request.set_grammar("root ::= \"the\"");
  request.add_resume_from(7);
  const Result misfit = test.Run(request, 2);
  EXPECT_THAT(misfit.error, HasSubstr("resume_from[0] is 7"));
  request.clear_resume_from();
  const Result good = test.Run(request, 3);
  EXPECT_EQ(good.finish_reason, v1::FINISH_REASON_STOP);
  ExpectFits("root ::= \"the\"", good, true);
}

}  // namespace
}  // namespace facet
