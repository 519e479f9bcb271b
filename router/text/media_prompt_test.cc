#include "router/text/media_prompt.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/tokenizer.h"
#include "tests/fake_worker/small_model.h"

namespace facet {
namespace {

using ::facet::testing::SmallVocabulary;
using ::facet::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Kind = MediaPart::Kind;

DecodedMedia Media(Kind kind, uint32_t tokens, int frames = 1) {
  DecodedMedia media;
  media.kind = kind;
  for (int i = 0; i < frames; ++i) {
    v1::Media& head = media.tensors.emplace_back().head;
    head.set_kind(kind == Kind::kAudio ? v1::Media::AUDIO : v1::Media::IMAGE);
    head.set_tokens(tokens);
    if (kind == Kind::kVideo) media.timestamps.push_back(absl::StrCat("00:0", i));
  }
  return media;
}

const std::vector<DecodedMedia>& AllKinds() {
  static const auto& media = *new std::vector<DecodedMedia>{
      Media(Kind::kImage, 3), Media(Kind::kVideo, 2, 2), Media(Kind::kAudio, 1)};
  return media;
}

// Given a text with a placeholder of each kind, expect each written out as the reference does.
TEST(MediaPromptTest, WritesPlaceholdersOut) {
  ASSERT_OK_AND_ASSIGN(const std::string text,
                       ExpandPlaceholders("a<|image|>b<|x<|video|><|audio|>", AllKinds()));
  EXPECT_EQ(text,
            "a<|image><|image|><|image|><|image|><image|>b<|x"
            "00:00 <|image><|video|><|video|><image|> 00:01 <|image><|video|><|video|><image|>"
            "<|audio><|audio|><audio|>");
}

// Given texts that have other placeholders than there are media, expect an error.
TEST(MediaPromptTest, RefusesOtherTexts) {
  for (const char* text :
       {"", "<|image|>", "<|video|><|image|><|audio|>", "<|image|><|video|><|audio|><|image|>",
        "<|image|><|image|><|video|><|audio|>"}) {
    EXPECT_THAT(ExpandPlaceholders(text, AllKinds()),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("3 pictures")))
        << text;
  }
}

// Given the ids of an expanded text, expect each run at its place; pictures that touch are apart by
// their marks.
TEST(MediaPromptTest, FindsRuns) {
  const Tokenizer tokenizer(SmallVocabulary());
  const std::vector<DecodedMedia> media = {Media(Kind::kImage, 2), Media(Kind::kImage, 2),
                                           Media(Kind::kAudio, 3), Media(Kind::kVideo, 1, 2)};
  ASSERT_OK_AND_ASSIGN(const std::string text,
                       ExpandPlaceholders("a<|image|><|image|>b<|audio|><|video|>", media));
  const std::vector<int> ids = tokenizer.Encode(text);
  // a <|image> I I <image|> <|image> I I <image|> b <|audio> A A A <audio|> 00:00_ <|image> V ...
  EXPECT_THAT(*FindSoftTokens(*SmallVocabulary(), ids, media), ElementsAre(2, 6, 11, 22, 32));
}

// Given ids that hold other runs than the media have, expect an error that says where.
TEST(MediaPromptTest, RefusesOtherRuns) {
  const Tokenizer tokenizer(SmallVocabulary());
  const std::vector<DecodedMedia> media = {Media(Kind::kImage, 2), Media(Kind::kAudio, 1)};
  const struct {
    const char *text, *what;
  } kCases[] = {
      {"a", "for 0 pictures, frames and sounds, but 2"},
      {"<|image|><|image|>", "for 1 pictures"},
      {"<|image|><|audio|>", "the 1 placeholder tokens at 0"},
      {"<|image|><|image|>a<|image|>", "the 1 placeholder tokens at 3"},
      {"<|image|><|image|><|audio|>b<|audio|>", "not those of any"},
  };
  for (const auto& c : kCases) {
    EXPECT_THAT(FindSoftTokens(*SmallVocabulary(), tokenizer.Encode(c.text), media),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(c.what)))
        << c.text;
  }
}

}  // namespace
}  // namespace facet
