#include "model/pair_merger.h"

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "gtest/gtest.h"
#include "model/metadata.h"
#include "model/testing/real_vocabulary.h"
#include "model/utf8.h"
#include "model/vocabulary.h"

namespace facet {
namespace {

// The definition, word for word: look at all neighbours, join the best, begin again.
std::vector<int> MergeNaively(const Vocabulary& vocabulary, std::vector<int> ids) {
  while (true) {
    Vocabulary::Merge best;
    size_t best_at = 0;
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      const Vocabulary::Merge merge = vocabulary.FindMerge(ids[i], ids[i + 1]);
      if (merge.rank < best.rank) {
        best = merge;
        best_at = i;
      }
    }
    if (best.rank == Vocabulary::Merge::kNone) return ids;
    ids[best_at] = best.id;
    ids.erase(ids.begin() + best_at + 1);
  }
}

std::vector<int> Merge(const Vocabulary& vocabulary, std::vector<int> ids, size_t block = 1024) {
  PairMerger(&vocabulary, block).MergeTail(0, ids);
  return ids;
}

std::shared_ptr<const Vocabulary> MakeVocabulary(std::vector<std::string> pieces,
                                                 const std::vector<std::string>& merges) {
  std::vector<int32_t> types(pieces.size(), 1);
  for (int byte = 0; byte < 256; ++byte) {
    pieces.push_back(absl::StrFormat("<0x%02X>", byte));
    types.push_back(6);
  }
  Metadata metadata;
  metadata.Set("tokenizer.ggml.model", std::string("gemma4"));
  metadata.Set("tokenizer.ggml.tokens", pieces);
  metadata.Set("tokenizer.ggml.token_type", types);
  metadata.Set("tokenizer.ggml.merges", merges);
  return Vocabulary::FromMetadata(metadata).value();
}

// A vocabulary over three letters with random merges in random order, so that ranks do not follow
// the pieces' lengths, as they do in a trained one.
std::shared_ptr<const Vocabulary> RandomVocabulary(std::mt19937& random) {
  std::vector<std::string> pieces = {"<bos>", "a", "b", "c"};
  std::vector<std::string> merges;
  for (int i = 0; i < 40; ++i) {
    const std::string left = pieces[1 + random() % (pieces.size() - 1)];
    const std::string right = pieces[1 + random() % (pieces.size() - 1)];
    if (left.size() + right.size() > 8) continue;
    const std::string merge = absl::StrCat(left, " ", right);
    if (std::find(merges.begin(), merges.end(), merge) != merges.end()) continue;
    merges.push_back(merge);
    if (std::find(pieces.begin(), pieces.end(), left + right) == pieces.end()) {
      pieces.push_back(left + right);
    }
  }
  std::shuffle(merges.begin(), merges.end(), random);
  return MakeVocabulary(std::move(pieces), merges);
}

// Given random vocabularies and random rows, short and long: expect what the definition gives.
TEST(PairMergerTest, EqualsTheDefinitionForRandomVocabularies) {
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::mt19937 random(seed);
  for (int round = 0; round < 60; ++round) {
    const auto vocabulary = RandomVocabulary(random);
    for (const size_t size : {2, 3, 7, 20, 48, 49, 60, 200, 400}) {
      std::vector<int> ids(size);
      const int letters = 1 + random() % 3;
      for (int& id : ids) id = 1 + random() % letters;
      const std::vector<int> expected = MergeNaively(*vocabulary, ids);
      for (const size_t block : {1, 10, 50, 1024}) {
        ASSERT_EQ(Merge(*vocabulary, ids, block), expected)
            << block << ::testing::PrintToString(ids);
      }
    }
  }
}

// Given rows of the real vocabulary's letters: expect what the definition gives.
TEST(PairMergerTest, EqualsTheDefinitionForTheRealVocabulary) {
  const auto vocabulary = testing::RealVocabulary();
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::mt19937 random(seed);
  const std::string letters = " etaoinshrdlu\n\t.=-*#/01";
  for (int round = 0; round < 300; ++round) {
    std::vector<int> ids(1 + random() % 300);
    const size_t used = 1 + random() % letters.size();
    for (int& id : ids) id = vocabulary->character_id(letters[random() % used]);
    const std::vector<int> expected = MergeNaively(*vocabulary, ids);
    ASSERT_EQ(Merge(*vocabulary, ids), expected);
    ASSERT_EQ(Merge(*vocabulary, ids, 30), expected);
  }
}

// Given a chain in which each merge is of a lower rank than the one before it, so that the row
// changes from its end to its beginning: expect it to be merged in one block, and rightly.
TEST(PairMergerTest, BlocksThatDoNotFitAreMergedAsOne) {
  constexpr int kLength = 120;
  std::vector<std::string> pieces = {"<bos>"}, merges;
  for (int i = 0; i < kLength; ++i) {
    pieces.emplace_back();
    AppendUtf8(0x4E00 + i, pieces.back());
  }
  for (int i = kLength; i > 1; --i) {
    pieces.push_back(pieces[i - 1] + pieces[i]);
    merges.push_back(absl::StrCat(pieces[i - 1], " ", pieces[i]));
  }
  const auto vocabulary = MakeVocabulary(pieces, merges);
  std::vector<int> ids;
  for (int i = 1; i <= kLength; ++i) ids.push_back(i);
  PairMerger merger(vocabulary.get(), 51);
  std::vector<int> merged = ids;
  merger.MergeTail(0, merged);
  EXPECT_EQ(merged, MergeNaively(*vocabulary, ids));
  EXPECT_EQ(merger.whole_rows(), 1);
}

// Given what precedes the tail: expect it untouched.
TEST(PairMergerTest, LeavesWhatPrecedesTheTail) {
  const auto vocabulary = testing::RealVocabulary();
  const int t = vocabulary->character_id('t'), h = vocabulary->character_id('h');
  std::vector<int> ids = {t, h, t, h};
  PairMerger(vocabulary.get()).MergeTail(2, ids);
  EXPECT_EQ(ids, (std::vector<int>{t, h, *vocabulary->Find("th")}));
}

// Given four times the text: expect less than six times the work.
TEST(PairMergerTest, WorkGrowsWithTheLength) {
  const auto vocabulary = testing::RealVocabulary();
  std::mt19937 random(7);
  const auto work = [&](const std::string& letters, size_t size) {
    std::vector<int> ids(size);
    for (int& id : ids) id = vocabulary->character_id(letters[random() % letters.size()]);
    PairMerger merger(vocabulary.get());
    merger.MergeTail(0, ids);
    EXPECT_EQ(merger.whole_rows(), 0) << letters;
    return static_cast<double>(merger.steps());
  };
  for (const std::string letters : {"a", " ", "\n", "=", "ab", "etaoinshrdlu", "-=*#"}) {
    const double small = work(letters, 50'000), large = work(letters, 200'000);
    EXPECT_GT(small, 50'000 / 2) << letters;
    EXPECT_LT(large / small, 6) << letters << ": " << small << " and " << large << " steps";
  }
}

}  // namespace
}  // namespace facet
