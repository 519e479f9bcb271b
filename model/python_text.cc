#include "model/python_text.h"

#include <charconv>
#include <cmath>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "model/utf8.h"

namespace facet {
namespace {

bool IsPythonSpace(char32_t code) {
  return (code >= 0x09 && code <= 0x0D) || (code >= 0x1C && code <= 0x20) || code == 0x85 ||
         code == 0xA0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 ||
         code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

}  // namespace

std::string PythonFloat(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  // "d.ddde+xx": the digits, and the place of the point.
  char buffer[32];
  const auto result = std::to_chars(buffer, buffer + sizeof(buffer), std::abs(value),
                                    std::chars_format::scientific);
  const absl::string_view text(buffer, result.ptr - buffer);
  const size_t e = text.find('e');
  const int exponent = std::atoi(std::string(text.substr(e + 1)).c_str());
  std::string digits(text.substr(0, 1));
  if (e > 2) absl::StrAppend(&digits, text.substr(2, e - 2));
  const int count = static_cast<int>(digits.size());

  std::string number;
  if (exponent < -4 || exponent >= 16) {
    number = digits.substr(0, 1);
    if (count > 1) absl::StrAppend(&number, ".", digits.substr(1));
    absl::StrAppendFormat(&number, "e%c%02d", exponent < 0 ? '-' : '+', std::abs(exponent));
  } else if (exponent < 0) {
    number = absl::StrCat("0.", std::string(-exponent - 1, '0'), digits);
  } else if (count <= exponent + 1) {
    number = absl::StrCat(digits, std::string(exponent + 1 - count, '0'), ".0");
  } else {
    number = absl::StrCat(digits.substr(0, exponent + 1), ".", digits.substr(exponent + 1));
  }
  return std::signbit(value) ? absl::StrCat("-", number) : number;
}

absl::string_view PythonStrip(absl::string_view text) {
  while (!text.empty()) {
    const Utf8Character first = FirstUtf8Character(text);
    if (first.size == 0 || !IsPythonSpace(first.code)) break;
    text.remove_prefix(first.size);
  }
  while (!text.empty()) {
    size_t begin = text.size() - 1;
    while (begin > 0 && (text[begin] & 0xC0) == 0x80) --begin;
    const absl::string_view tail = text.substr(begin);
    const Utf8Character last = FirstUtf8Character(tail);
    if (static_cast<size_t>(last.size) != tail.size() || !IsPythonSpace(last.code)) break;
    text.remove_suffix(tail.size());
  }
  return text;
}

}  // namespace facet
