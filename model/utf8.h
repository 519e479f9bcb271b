#ifndef FACET_MODEL_UTF8_H_
#define FACET_MODEL_UTF8_H_

#include <string>

#include "absl/strings/string_view.h"

namespace facet {

// The well-formed UTF-8 character at the start of a text.
struct Utf8Character {
  int size = 0;  // In bytes, 1 to 4; 0: the text is empty or starts with a byte of no character.
  char32_t code = 0;
};

// Surrogates, overlong forms and codes above U+10FFFF are no characters.
Utf8Character FirstUtf8Character(absl::string_view text);

bool IsUtf8(absl::string_view text);

// REQUIRES: code <= 0x10FFFF.
void AppendUtf8(char32_t code, std::string& text);

}  // namespace facet

#endif  // FACET_MODEL_UTF8_H_
