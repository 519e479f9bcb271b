#include "model/utf8.h"

#include <string>

#include "gtest/gtest.h"

namespace facet {
namespace {

// Given every Unicode scalar value: expect it to survive encoding and decoding.
TEST(Utf8Test, EveryCharacterIsReadAsWritten) {
  for (char32_t code = 0; code <= 0x10FFFF; ++code) {
    std::string text;
    AppendUtf8(code, text);
    const Utf8Character character = FirstUtf8Character(text);
    if (code >= 0xD800 && code <= 0xDFFF) {
      ASSERT_EQ(character.size, 0) << static_cast<int>(code);
    } else {
      ASSERT_EQ(character.size, static_cast<int>(text.size())) << static_cast<int>(code);
      ASSERT_EQ(character.code, code);
    }
  }
}

// Given bytes that are no character: expect size 0.
TEST(Utf8Test, BrokenTextHasNoCharacter) {
  for (const char* text :
       {"", "\x80", "\xC0\x80", "\xC1\xBF", "\xC3", "\xE2\x82", "\xE0\x9F\xBF", "\xF0\x8F\xBF\xBF",
        "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF", "\xE2(\xA1"}) {
    EXPECT_EQ(FirstUtf8Character(text).size, 0) << testing::PrintToString(text);
  }
}

TEST(Utf8Test, WholeTextIsChecked) {
  EXPECT_TRUE(IsUtf8(""));
  EXPECT_TRUE(IsUtf8("a\xC3\xA9\xF0\x9F\x98\x80"));
  EXPECT_FALSE(IsUtf8("a\xC3\xA9\xF0\x9F\x98"));
}

}  // namespace
}  // namespace facet
