#include "model/detokenizer.h"

#include <boost/json.hpp>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "model/testing/files.h"
#include "model/testing/real_vocabulary.h"
#include "model/utf8.h"

namespace facet {
namespace {

class DetokenizerTest : public ::testing::Test {
 protected:
  // All pieces that a stream of ids gives out.
  std::vector<std::string> Stream(const std::vector<int>& ids, bool skip_special) {
    Detokenizer detokenizer(vocabulary_, skip_special);
    std::vector<std::string> texts;
    for (const int id : ids) texts.push_back(detokenizer.Add(id));
    texts.push_back(detokenizer.Finish());
    return texts;
  }

  std::string Read(const std::vector<int>& ids, bool skip_special) {
    std::string all;
    for (const std::string& text : Stream(ids, skip_special)) all += text;
    return all;
  }

  const std::shared_ptr<const Vocabulary> vocabulary_ = testing::RealVocabulary();
};

// Given the reference's ids: expect its text, with markers and without, in whole characters.
TEST_F(DetokenizerTest, EqualsTheReference) {
  for (const auto& line : testing::ReadJsonLines("tests/testdata/text/detokenizer.jsonl")) {
    const auto ids = boost::json::value_to<std::vector<int>>(line.at("ids"));
    EXPECT_EQ(Read(ids, false), line.at("text").as_string()) << line;
    EXPECT_EQ(Read(ids, true), line.at("text_skip_special").as_string()) << line;
    for (const std::string& text : Stream(ids, false)) EXPECT_TRUE(IsUtf8(text)) << line;
  }
}

// Given byte pieces of one character, then a word: expect nothing until the run ends.
TEST_F(DetokenizerTest, HoldsBytesUntilTheirRunEnds) {
  const std::vector<std::string> texts = Stream({433, 407, 9259, 433}, false);
  EXPECT_EQ(texts, (std::vector<std::string>{"", "", "éHello", "", "\uFFFD"}));
}

// Given a skipped marker inside a run of byte pieces: expect the run to go on.
TEST_F(DetokenizerTest, SkippedMarkersDoNotEndARun) { EXPECT_EQ(Read({433, 106, 407}, true), "é"); }

TEST_F(DetokenizerTest, IdsOutsideTheVocabularyHaveNoText) {
  EXPECT_EQ(Read({-1, 9259, 262144}, false), "Hello");
}

}  // namespace
}  // namespace facet
