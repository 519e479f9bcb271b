#include "model/tokenizer.h"

#include <boost/json.hpp>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/pair_merger.h"
#include "model/testing/files.h"
#include "model/testing/real_vocabulary.h"
#include "model/utf8.h"

namespace facet {
namespace {

class TokenizerTest : public ::testing::Test {
 protected:
  // The whole text as one word: no cuts, no cache.
  std::vector<int> EncodeWhole(absl::string_view text) {
    std::vector<int> ids;
    while (!text.empty()) {
      const Utf8Character character = FirstUtf8Character(text);
      const int id = character.size == 0 ? -1 : vocabulary_->character_id(character.code);
      const int size = std::max(1, character.size);
      if (id >= 0) ids.push_back(id);
      for (int i = 0; id < 0 && i < size; ++i) ids.push_back(vocabulary_->byte_id(text[i]));
      text.remove_prefix(size);
    }
    PairMerger(vocabulary_.get()).MergeTail(0, ids);
    return ids;
  }

  std::string Read(const std::vector<int>& ids) {
    std::string text;
    for (const int id : ids) absl::StrAppend(&text, vocabulary_->text(id));
    return text;
  }

  const std::shared_ptr<const Vocabulary> vocabulary_ = testing::RealVocabulary();
  const Tokenizer tokenizer_{vocabulary_};
};

// Given the reference's texts: expect its ids.
TEST_F(TokenizerTest, EqualsTheReference) {
  for (const auto& line : testing::ReadJsonLines("tests/testdata/text/tokenizer.jsonl")) {
    Tokenizer::Options options;
    options.add_special = line.at("add_special").as_bool();
    options.parse_special = line.at("parse_special").as_bool();
    const std::string text(line.at("text").as_string());
    EXPECT_EQ(tokenizer_.Encode(text, options),
              boost::json::value_to<std::vector<int>>(line.at("ids")))
        << text;
  }
}

// Given the reference's texts again: expect the cache to change nothing.
TEST_F(TokenizerTest, SecondTimeGivesTheSame) {
  for (const auto& line : testing::ReadJsonLines("tests/testdata/text/tokenizer.jsonl")) {
    const std::string text(line.at("text").as_string());
    const std::vector<int> first = tokenizer_.Encode(text);
    EXPECT_EQ(tokenizer_.Encode(text), first) << text;
    EXPECT_EQ(Tokenizer(vocabulary_).Encode(text), first) << text;
  }
}

// Given bytes that are no UTF-8: expect the well-formed characters to be encoded as ever, and each
// other byte to be its byte piece, so that nothing is lost.
TEST_F(TokenizerTest, KeepsEachByteOfBrokenUtf8) {
  for (const auto& line : testing::ReadJsonLines("tests/testdata/text/invalid_utf8.jsonl")) {
    const std::string text = absl::HexStringToBytes(std::string(line.at("hex").as_string()));
    const std::vector<int> ids = tokenizer_.Encode(text);
    EXPECT_EQ(Read(ids), text) << line;
    EXPECT_EQ(ids, EncodeWhole(text)) << line;
  }
  const int a = vocabulary_->character_id('a'), b = vocabulary_->character_id('b');
  EXPECT_EQ(tokenizer_.Encode("\xFF"), (std::vector<int>{vocabulary_->byte_id(0xFF)}));
  EXPECT_EQ(tokenizer_.Encode("a\xE2\x82"
                              "b"),
            (std::vector<int>{a, vocabulary_->byte_id(0xE2), vocabulary_->byte_id(0x82), b}));
}

// Given the real vocabulary: expect cuts before spaces after all but '>' and spaces, around
// newlines, and between digits; and, piece by piece, that no piece made by merges could be cut.
TEST_F(TokenizerTest, NoPieceCrossesACut) {
  int crossing = 0;
  for (int last = 0; last < 256; ++last) {
    EXPECT_EQ(vocabulary_->MayCut(last, ' '), last != '>' && last != ' ' && last != 0x81) << last;
    EXPECT_EQ(vocabulary_->MayCut(last, '\n'), last != '\n') << last;
  }
  EXPECT_TRUE(vocabulary_->MayCut('1', '2'));
  EXPECT_FALSE(vocabulary_->MayCut('t', 'h'));
  for (int id = 0; id < vocabulary_->size(); ++id) {
    if (vocabulary_->type(id) != PieceType::kNormal) continue;
    const absl::string_view text = vocabulary_->text(id);
    bool has_cut = false;
    for (size_t i = 1; i < text.size(); ++i) {
      if (vocabulary_->MayCut(text[i - 1], text[i])) has_cut = true;
    }
    if (!has_cut) continue;
    // Only the pieces that no merge makes.
    ++crossing;
    EXPECT_NE(EncodeWhole(text), std::vector<int>{id}) << vocabulary_->piece(id);
  }
  RecordProperty("pieces_that_no_merge_makes", crossing);
}

// Given random texts of characters that meet at cuts: expect what the uncut text gives.
TEST_F(TokenizerTest, CutsChangeNothing) {
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::mt19937 random(seed);
  const std::vector<std::string> parts = {
      " ", "  ", "▁", "\n", "\n\n", "\t",   ">",     "</",   "a",    "the",  "and",  ".",    ",",
      "1", "23", "’", "é",  "日本", "한",   "😀",    "\xE2", "\x96", "\x81", "\xFF", "\r\n", "(",
      ")", "{",  "}", ";",  "=",    "word", "Hello", "<",    "|",    "\"",   "'s",   "ß"};
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    for (int i = random() % 40; i >= 0; --i) text += parts[random() % parts.size()];
    ASSERT_EQ(tokenizer_.Encode(text, {false, false}), EncodeWhole(text)) << absl::CEscape(text);
  }
}

// Given random bytes: expect the ids to read as the same bytes.
TEST_F(TokenizerTest, RandomBytesAreKept) {
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::mt19937 random(seed);
  for (int round = 0; round < 500; ++round) {
    std::string text(random() % 200, '\0');
    for (char& byte : text) byte = static_cast<char>(random());
    ASSERT_EQ(Read(tokenizer_.Encode(text)), absl::StrReplaceAll(text, {{"▁", " "}}));
  }
}

// Given many threads and one tokenizer: expect each to get what one alone gets.
TEST_F(TokenizerTest, ThreadsDoNotDisturbEachOther) {
  std::vector<std::string> texts;
  for (const auto& line : testing::ReadJsonLines("tests/testdata/text/tokenizer.jsonl")) {
    texts.emplace_back(line.at("text").as_string());
  }
  std::vector<std::vector<int>> expected;
  for (const std::string& text : texts) expected.push_back(Tokenizer(vocabulary_).Encode(text));
  std::vector<std::thread> threads;
  std::vector<int> differences(4);
  for (int& count : differences) {
    threads.emplace_back([&] {
      for (size_t i = 0; i < texts.size(); ++i) {
        if (tokenizer_.Encode(texts[i]) != expected[i]) ++count;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(differences, ::testing::Each(0));
}

}  // namespace
}  // namespace facet
