#include "model/number_grammar.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"

namespace facet {
namespace {

constexpr int kDecimalsMax = 6;
constexpr double kBoundMax = 1e12;
// What one digit may be.
struct Digits {
  char low, high;
};
using Pattern = std::vector<Digits>;

// The numbers from `low` to `high`, which have equally many digits, as few patterns.
std::vector<Pattern> PatternsBetween(absl::string_view low, absl::string_view high) {
  if (low.empty()) return {{}};
  std::vector<Pattern> patterns;
  const auto add = [&](char from, char to, const std::vector<Pattern>& rests) {
    for (const Pattern& rest : rests) {
      Pattern pattern = {{from, to}};
      pattern.insert(pattern.end(), rest.begin(), rest.end());
      patterns.push_back(std::move(pattern));
    }
  };
  if (low[0] == high[0]) {
    add(low[0], low[0], PatternsBetween(low.substr(1), high.substr(1)));
    return patterns;
  }
  const std::string nines(low.size() - 1, '9'), zeros(low.size() - 1, '0');
  char from = low[0], to = high[0];
  if (low.substr(1) != zeros) add(from, from, PatternsBetween(low.substr(1), nines)), ++from;
  if (high.substr(1) != nines) --to;
  if (from <= to) add(from, to, {Pattern(low.size() - 1, {'0', '9'})});
  if (high.substr(1) != nines) add(high[0], high[0], PatternsBetween(zeros, high.substr(1)));
  return patterns;
}

// `pattern` with a point before its last `decimals` digits.
std::string Write(const Pattern& pattern, int decimals) {
  std::string text;
  const size_t point = pattern.size() - decimals;
  for (size_t i = 0; i < pattern.size();) {
    if (decimals > 0 && i == point) absl::StrAppend(&text, "\".\" ");
    size_t end = i + 1;
    const Digits digits = pattern[i];
    if (digits.low == digits.high) {
      absl::StrAppend(&text, "\"", std::string(1, digits.low), "\" ");
    } else {
      while (end < pattern.size() && end != point && pattern[end].low == digits.low &&
             pattern[end].high == digits.high) {
        ++end;
      }
      absl::StrAppend(&text, "[", std::string(1, digits.low), "-", std::string(1, digits.high),
                      "]");
      absl::StrAppend(&text, end - i > 1 ? absl::StrCat("{", end - i, "} ") : " ");
    }
    i = end;
  }
  return text;
}

// Non-negative numbers k / 10^decimals for k in [low, high], each followed by `tail`.
void AddUnsigned(int64_t low, int64_t high, int decimals, absl::string_view sign,
                 absl::string_view tail, std::vector<std::string>& choices) {
  const size_t least_digits = decimals + 1;
  while (low <= high) {
    std::string from = absl::StrCat(low);
    from.insert(0, from.size() < least_digits ? least_digits - from.size() : 0, '0');
    const std::string last(from.size(), '9');
    const std::string most = absl::StrCat(high);
    const std::string to =
        most.size() > from.size()
            ? last
            : std::string(from.size() - std::min(from.size(), most.size()), '0') + most;
    for (const Pattern& pattern : PatternsBetween(from, to)) {
      choices.push_back(absl::StrCat(sign, Write(pattern, decimals), tail));
    }
    int64_t next = 0;
    if (!absl::SimpleAtoi(to, &next)) break;
    low = next + 1;
  }
}

// Numbers in [low, high] / 10^decimals with more decimals where there is room before the next.
void AddNumbers(int64_t low, int64_t high, int decimals, std::vector<std::string>& choices) {
  const std::string more =
      decimals == 0 ? "(\".\" [0-9]{1,12})?" : absl::StrCat("[0-9]{0,", 12 - decimals, "}");
  const std::string zeros = decimals == 0 ? "(\".\" \"0\")?" : "";
  if (high >= 0) {
    AddUnsigned(std::max<int64_t>(low, 0), high - 1, decimals, "", more, choices);
    if (high >= low) AddUnsigned(high, high, decimals, "", zeros, choices);
  }
  if (low < 0) {
    AddUnsigned(std::max<int64_t>(-high, high < 0 ? 0 : 1), -low - 1, decimals, "\"-\" ", more,
                choices);
    AddUnsigned(-low, -low, decimals, "\"-\" ", zeros, choices);
    // Between -1 and 0 lies what begins with -0.
    if (high >= 0 && decimals == 0) choices.push_back("\"-0.\" [0-9]{1,12}");
  }
}

absl::StatusOr<int> DecimalsOf(double bound) {
  if (!(std::abs(bound) < kBoundMax)) {
    return absl::InvalidArgumentError(absl::StrCat("the bound ", bound, " is too large"));
  }
  for (int decimals = 0; decimals <= kDecimalsMax; ++decimals) {
    double read = 0;
    if (!absl::SimpleAtod(absl::StrFormat("%.*f", decimals, bound), &read)) continue;
    // Boost's parser of JSON is off by a last bit here and there.
    if (std::abs(read - bound) <= 1e-14 * std::abs(bound)) return decimals;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("the bound ", bound, " has more than ", kDecimalsMax, " decimals"));
}

}  // namespace

std::string IntegerGrammar(int64_t low, int64_t high) {
  std::vector<std::string> choices;
  if (low < 0) AddUnsigned(std::max<int64_t>(1, -high), -low, 0, "\"-\" ", "", choices);
  if (high >= 0) AddUnsigned(std::max<int64_t>(0, low), high, 0, "", "", choices);
  return absl::StrCat("(", absl::StrJoin(choices, " | "), ")");
}

absl::StatusOr<std::string> NumberGrammar(const NumberBounds& bounds) {
  if (!bounds.low && !bounds.high) {
    return std::string(
        R"("-"? ("0" | [1-9] [0-9]{0,17}) ("." [0-9]{1,17})? ([eE] [+-]? [0-9]{1,2})?)");
  }
  ASSIGN_OR_RETURN(const int low_decimals, DecimalsOf(bounds.low.value_or(0)));
  ASSIGN_OR_RETURN(const int high_decimals, DecimalsOf(bounds.high.value_or(0)));
  const bool excluded = bounds.low_excluded || bounds.high_excluded;
  const int decimals = std::max(low_decimals, high_decimals) + (excluded ? 2 : 0);
  // An open side ends where 16 digits do.
  const double open = std::pow(10.0, 16 - decimals);
  const double low = bounds.low.value_or(-open), high = bounds.high.value_or(open);
  if (std::max(std::abs(low), std::abs(high)) > open) {
    return absl::InvalidArgumentError("the bounds have too many digits");
  }
  const auto scaled = [](double value, int places) {
    return static_cast<int64_t>(std::llround(value * std::pow(10.0, places)));
  };
  const int64_t first = scaled(low, decimals) + (bounds.low_excluded ? 1 : 0);
  const int64_t last = scaled(high, decimals) - (bounds.high_excluded ? 1 : 0);
  if (first > last) return absl::InvalidArgumentError("no number lies within the bounds");
  std::vector<std::string> choices;
  AddNumbers(first, last, decimals, choices);
  if (decimals > 0) {
    // Numbers without that many decimals, as far as whole ones lie within.
    const auto step = static_cast<int64_t>(std::pow(10.0, decimals));
    const int64_t whole_low = first / step + (first % step > 0 ? 1 : 0);
    const int64_t whole_high = last / step - (last % step < 0 ? 1 : 0);
    if (whole_low <= whole_high) AddNumbers(whole_low, whole_high, 0, choices);
  }
  return absl::StrCat("(", absl::StrJoin(choices, " | "), ")");
}

}  // namespace facet
