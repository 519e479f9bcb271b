#include "model/utf8.h"

#include <cstdint>

namespace facet {

Utf8Character FirstUtf8Character(absl::string_view text) {
  if (text.empty()) return {};
  const uint8_t lead = text[0];
  if (lead < 0x80) return {1, lead};
  // 0x80 to 0xC1 never lead: continuation bytes, and overlong forms of one byte.
  const int size = lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 0;
  if (size == 0 || text.size() < static_cast<size_t>(size)) return {};
  char32_t code = lead & (0x7F >> size);
  for (int i = 1; i < size; ++i) {
    const uint8_t byte = text[i];
    if ((byte & 0xC0) != 0x80) return {};
    code = code << 6 | (byte & 0x3F);
  }
  const bool overlong = (size == 3 && code < 0x800) || (size == 4 && code < 0x10000);
  const bool surrogate = code >= 0xD800 && code <= 0xDFFF;
  if (overlong || surrogate || code > 0x10FFFF) return {};
  return {size, code};
}

bool IsUtf8(absl::string_view text) {
  while (!text.empty()) {
    const Utf8Character character = FirstUtf8Character(text);
    if (character.size == 0) return false;
    text.remove_prefix(character.size);
  }
  return true;
}

void AppendUtf8(char32_t code, std::string& text) {
  const auto continuation = [&](int shift) {
    text.push_back(static_cast<char>(0x80 | ((code >> shift) & 0x3F)));
  };
  if (code < 0x80) {
    text.push_back(static_cast<char>(code));
  } else if (code < 0x800) {
    text.push_back(static_cast<char>(0xC0 | code >> 6));
    continuation(0);
  } else if (code < 0x10000) {
    text.push_back(static_cast<char>(0xE0 | code >> 12));
    continuation(6);
    continuation(0);
  } else {
    text.push_back(static_cast<char>(0xF0 | code >> 18));
    continuation(12);
    continuation(6);
    continuation(0);
  }
}

}  // namespace facet
