#include "model/vocabulary.h"

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/testing/real_vocabulary.h"

namespace facet {
namespace {

using ::facet::testing::StatusIs;
using ::testing::HasSubstr;

// <bos>, the byte pieces at 1 to 256, and then "a", "b", "ab", "▁", "▁ab", "ab▁".
class VocabularyTest : public ::testing::Test {
 protected:
  VocabularyTest() {
    tokens_ = {"<bos>"};
    for (int byte = 0; byte < 256; ++byte) tokens_.push_back(absl::StrFormat("<0x%02X>", byte));
    types_ = {3};
    types_.resize(257, 6);
    for (const char* piece : {"a", "b", "ab", "▁", "▁ab"}) {
      tokens_.push_back(piece);
      types_.push_back(1);
    }
    merges_ = {"a b", "▁ ab"};
  }

  absl::StatusOr<std::shared_ptr<const Vocabulary>> Load() {
    metadata_.Set("tokenizer.ggml.model", std::string("gemma4"));
    metadata_.Set("tokenizer.ggml.tokens", tokens_);
    metadata_.Set("tokenizer.ggml.token_type", types_);
    metadata_.Set("tokenizer.ggml.merges", merges_);
    return Vocabulary::FromMetadata(metadata_);
  }

  void ExpectError(absl::string_view key, absl::string_view what) {
    EXPECT_THAT(Load(), StatusIs(absl::StatusCode::kInvalidArgument,
                                 ::testing::AllOf(HasSubstr(std::string(key)),
                                                  HasSubstr(std::string(what)))));
  }

  Metadata metadata_;
  std::vector<std::string> tokens_;
  std::vector<int32_t> types_;
  std::vector<std::string> merges_;
};

TEST_F(VocabularyTest, PiecesAreFoundAndRead) {
  ASSERT_OK_AND_ASSIGN(const auto vocabulary, Load());
  EXPECT_EQ(vocabulary->size(), 262);
  EXPECT_EQ(vocabulary->Find("▁ab"), 261);
  EXPECT_EQ(vocabulary->Find("c"), std::nullopt);
  EXPECT_EQ(vocabulary->piece(261), "▁ab");
  EXPECT_EQ(vocabulary->text(261), " ab");
  EXPECT_EQ(vocabulary->text(1 + '\n'), "\n");
  EXPECT_EQ(vocabulary->type(1), PieceType::kByte);
  EXPECT_EQ(vocabulary->byte_id(255), 256);
  EXPECT_EQ(vocabulary->character_id(' '), 260);
  EXPECT_EQ(vocabulary->character_id(0x2581), 260);
  EXPECT_EQ(vocabulary->character_id(0x10FFFF), -1);
  EXPECT_EQ(vocabulary->FindMerge(257, 258).id, 259);
  EXPECT_EQ(vocabulary->FindMerge(260, 259).rank, 1);
  EXPECT_EQ(vocabulary->FindMerge(258, 257).rank, Vocabulary::Merge::kNone);
}

// Given merges that cross a|b and ' '|a: expect cuts everywhere else; and given one that crosses
// b|' ', expect that cut gone.
TEST_F(VocabularyTest, CutsFollowTheMerges) {
  {
    ASSERT_OK_AND_ASSIGN(const auto vocabulary, Load());
    EXPECT_FALSE(vocabulary->MayCut('a', 'b'));
    EXPECT_FALSE(vocabulary->MayCut(' ', 'a'));
    EXPECT_TRUE(vocabulary->MayCut('b', 'a'));
    EXPECT_TRUE(vocabulary->MayCut('b', ' '));
    EXPECT_FALSE(vocabulary->MayCut(0xE2, 0x96)) << "inside a character";
  }
  tokens_.push_back("ab▁");
  types_.push_back(1);
  merges_.push_back("ab ▁");
  ASSERT_OK_AND_ASSIGN(const auto vocabulary, Load());
  EXPECT_FALSE(vocabulary->MayCut('b', ' '));
  EXPECT_FALSE(vocabulary->MayCut('b', 0xE2)) << "'▁' is the same as a space";
}

TEST_F(VocabularyTest, ASmallVocabularyLacksRoles) {
  ASSERT_OK_AND_ASSIGN(const auto vocabulary, Load());
  EXPECT_EQ(vocabulary->roles().bos, 0);
  EXPECT_EQ(vocabulary->roles().eos, std::nullopt);
  EXPECT_EQ(vocabulary->roles().turn_end, std::nullopt);
  EXPECT_TRUE(vocabulary->stop_ids().empty());
  EXPECT_TRUE(vocabulary->suppressed_ids().empty());
  EXPECT_EQ(vocabulary->chat_template(), "");
}

// Given ids and a template in the file: expect them to count.
TEST_F(VocabularyTest, TheFileNamesIds) {
  metadata_.Set("tokenizer.ggml.eos_token_id", uint32_t{257});
  metadata_.Set("tokenizer.ggml.suppress_tokens", std::vector<int32_t>{259, 258});
  metadata_.Set("tokenizer.chat_template", std::string("{{ x }}"));
  ASSERT_OK_AND_ASSIGN(const auto vocabulary, Load());
  EXPECT_EQ(vocabulary->stop_ids(), std::vector<int>{257});
  EXPECT_EQ(vocabulary->suppressed_ids(), (std::vector<int>{258, 259}));
  EXPECT_EQ(vocabulary->chat_template(), "{{ x }}");
}

TEST_F(VocabularyTest, WrongModelIsAnError) {
  ASSERT_OK(Load());
  metadata_.Set("tokenizer.ggml.model", std::string("gpt2"));
  EXPECT_THAT(Vocabulary::FromMetadata(metadata_),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("tokenizer.ggml.model")));
  EXPECT_THAT(Vocabulary::FromMetadata(Metadata()),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("tokenizer.ggml.model")));
}

TEST_F(VocabularyTest, MissingTypesAreAnError) {
  types_.pop_back();
  ExpectError("tokenizer.ggml.token_type", "261 entries for 262 pieces");
}

TEST_F(VocabularyTest, UnknownTypeIsAnError) {
  types_[5] = 9;
  ExpectError("tokenizer.ggml.token_type", "entry 5 is 9");
}

TEST_F(VocabularyTest, MissingByteIsAnError) {
  types_[1 + 0x41] = 1;
  ExpectError("tokenizer.ggml.tokens", "<0x41>");
}

TEST_F(VocabularyTest, MisspeltByteIsAnError) {
  tokens_[1] = "<0xZZ>";
  ExpectError("tokenizer.ggml.tokens", "<0xZZ>");
}

TEST_F(VocabularyTest, EmptyPieceIsAnError) {
  tokens_[257] = "";
  ExpectError("tokenizer.ggml.tokens", "piece 257 is empty");
}

TEST_F(VocabularyTest, BrokenUtf8IsAnError) {
  tokens_[257] = "\xFF";
  ExpectError("tokenizer.ggml.tokens", "piece 257 is not UTF-8");
}

// Given merges of or into what is no piece, as cut-down vocabularies have, expect them ignored.
TEST_F(VocabularyTest, MergesOfNoPieceAreIgnored) {
  merges_.push_back("b a");
  merges_.push_back("c a");
  EXPECT_OK(Read());
}

TEST_F(VocabularyTest, MergeWithoutSpaceIsAnError) {
  merges_.push_back("ab");
  ExpectError("tokenizer.ggml.merges", "merge 2 ('ab') has no space");
}

TEST_F(VocabularyTest, RepeatedMergeIsAnError) {
  merges_.push_back("a b");
  ExpectError("tokenizer.ggml.merges", "merge 2 ('a b') stands there twice");
}

TEST_F(VocabularyTest, IdOutOfRangeIsAnError) {
  metadata_.Set("tokenizer.ggml.bos_token_id", uint32_t{262});
  ExpectError("tokenizer.ggml.bos_token_id", "262");
  metadata_.Set("tokenizer.ggml.bos_token_id", uint32_t{0});
  metadata_.Set("tokenizer.ggml.suppress_tokens", std::vector<int32_t>{-1});
  ExpectError("tokenizer.ggml.suppress_tokens", "-1");
}

// Given Gemma 4's own vocabulary: expect the ids that its documentation names.
TEST(RealVocabularyTest, RolesHaveTheirIds) {
  const auto vocabulary = testing::RealVocabulary();
  const Vocabulary::Roles& roles = vocabulary->roles();
  EXPECT_EQ(vocabulary->size(), 262144);
  EXPECT_EQ(roles.bos, 2);
  EXPECT_EQ(roles.eos, 1);
  EXPECT_EQ(roles.pad, 0);
  EXPECT_EQ(roles.unknown, 3);
  EXPECT_EQ(roles.turn_begin, 105);
  EXPECT_EQ(roles.turn_end, 106);
  EXPECT_EQ(roles.channel_begin, 100);
  EXPECT_EQ(roles.channel_end, 101);
  EXPECT_EQ(roles.think, 98);
  EXPECT_EQ(roles.tool_begin, 46);
  EXPECT_EQ(roles.tool_end, 47);
  EXPECT_EQ(roles.tool_call_begin, 48);
  EXPECT_EQ(roles.tool_call_end, 49);
  EXPECT_EQ(roles.tool_response_begin, 50);
  EXPECT_EQ(roles.tool_response_end, 51);
  EXPECT_EQ(roles.string_quote, 52);
  EXPECT_EQ(roles.image_begin, 255999);
  EXPECT_EQ(roles.image_end, 258882);
  EXPECT_EQ(roles.image, 258880);
  EXPECT_EQ(roles.audio_begin, 256000);
  EXPECT_EQ(roles.audio_end, 258883);
  EXPECT_EQ(roles.audio, 258881);
  EXPECT_EQ(roles.video, 258884);
  EXPECT_EQ(vocabulary->stop_ids(), (std::vector<int>{1, 50, 106}));
  EXPECT_EQ(vocabulary->suppressed_ids(), (std::vector<int>{258882, 258883}));
  EXPECT_EQ(vocabulary->special_ids().size(), 24u);
  EXPECT_EQ(vocabulary->Find("▁hello"), 29104);
  EXPECT_EQ(vocabulary->byte_id(0), 238);
}

}  // namespace
}  // namespace facet
