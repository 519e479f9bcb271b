#include "model/grammar_relaxation.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace facet {
namespace {

constexpr absl::string_view kBlank = "\" \"";

bool IsDigits(absl::string_view element) {
  return element == "\\d" ||
         (absl::StartsWith(element, "[") && absl::EndsWith(element, "]") &&
          element.substr(1).find_first_not_of("0123456789abcdefABCDEF-]") == element.npos);
}

bool IsName(absl::string_view element) {
  return !element.empty() && std::all_of(element.begin(), element.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_';
  });
}

bool IsCount(absl::string_view text) { return text.find_first_not_of("0123456789, ") == text.npos; }

// Neither number of a count has more than two digits.
bool IsSmall(absl::string_view count) {
  int digits = 0;
  for (const char c : count) {
    digits = absl::ascii_isdigit(c) ? digits + 1 : 0;
    if (digits > 2) return false;
  }
  return true;
}

// Whether `whole` has a rule for any number of the rule `element`.
bool HasMany(absl::string_view whole, absl::string_view element) {
  return IsName(element) && absl::StrContains(whole, absl::StrCat("\n", element, "_many ::= "));
}

// The end of what begins at `at` and runs up to the next `last` that has no backslash before it.
size_t EndOfBracket(absl::string_view text, size_t at, char last) {
  for (++at; at < text.size(); ++at) {
    if (text[at] == '\\') {
      ++at;
    } else if (text[at] == last) {
      return at + 1;
    }
  }
  return text.size();
}

// Copies elements and relaxes the counts after them, in a rule or in a regular expression.
std::string Relax(absl::string_view text, bool in_regex) {
  const absl::string_view whole = text;
  std::string relaxed;
  absl::string_view element;  // the last one that was copied
  for (size_t at = 0, end; at < text.size(); at = end) {
    const char c = text[at];
    end = at + 1;
    while (!in_regex && end < text.size() && IsName(text.substr(at, end + 1 - at))) ++end;
    if (c == '{') {
      const size_t close = std::min(text.find('}', at), text.size());
      const absl::string_view count = text.substr(at + 1, close - at - 1);
      if (close < text.size() && IsCount(count) && !(IsDigits(element) && IsSmall(count))) {
        if (HasMany(whole, element)) {
          relaxed += "_many";
        } else {
          relaxed += count.find_first_not_of("0 ") == count.find(',') ? '*' : '+';
        }
        end = close + 1;
        continue;
      }
    } else if (c == '?' && !in_regex && element == kBlank) {
      relaxed.resize(relaxed.size() - kBlank.size());
      relaxed += "[ ]*";
      continue;
    } else if (c == '\\') {
      end = at + 2;
    } else if (c == '[') {
      end = EndOfBracket(text, at, ']');
    } else if (c == '"' && !in_regex) {
      end = EndOfBracket(text, at, '"');
    } else if (c == '#' && !in_regex) {
      end = text.find('\n', at);
    }
    end = std::min(end, text.size());
    const bool regex = c == '"' && !in_regex && absl::EndsWith(relaxed, "Regex(");
    element = text.substr(at, end - at);
    if (!regex) {
      absl::StrAppend(&relaxed, element);
      continue;
    }
    const std::string inner = absl::StrReplaceAll(element.substr(1, element.size() - 2),
                                                  {{"\\\\", "\\"}, {"\\\"", "\""}});
    absl::StrAppend(
        &relaxed, "\"",
        absl::StrReplaceAll(Relax(inner, /*in_regex=*/true), {{"\\", "\\\\"}, {"\"", "\\\""}}),
        "\"");
  }
  return relaxed;
}

}  // namespace

std::string RelaxCounts(absl::string_view ebnf) { return Relax(ebnf, /*in_regex=*/false); }

}  // namespace facet
