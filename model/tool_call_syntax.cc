#include "model/tool_call_syntax.h"

#include <boost/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace facet {
namespace {

constexpr int kDepthMax = 64;

std::string JsonString(absl::string_view text) {
  return boost::json::serialize(boost::json::string(text.data(), text.size()));
}

bool IsJsonNumber(absl::string_view text) {
  if (text.empty() || (text[0] != '-' && !absl::ascii_isdigit(text[0]))) return false;
  boost::json::error_code error;
  const boost::json::value value =
      boost::json::parse(boost::json::string_view(text.data(), text.size()), error);
  return !error && value.is_number();
}

std::string JsonOfBare(absl::string_view text) {
  for (const absl::string_view word : {"true", "false"}) {
    if (absl::EqualsIgnoreCase(text, word)) return std::string(word);
  }
  for (const absl::string_view word : {"null", "none", "nil"}) {
    if (absl::EqualsIgnoreCase(text, word)) return "null";
  }
  return IsJsonNumber(text) ? std::string(text) : JsonString(text);
}

// Reads from the front of `text_`. Each method returns false if it does not parse.
class Reader {
 public:
  explicit Reader(absl::string_view text) : text_(text) {}

  // Entries up to `end` (consumed), or to the end of the text for '\0'.
  bool ReadMapping(char end, int depth, std::string& json) {
    if (depth > kDepthMax) return false;
    absl::string_view separator = "{";
    while (!ReadEnd(end)) {
      std::string key;
      if (text_.empty() || !ReadKey(key)) return false;
      absl::StrAppend(&json, separator, JsonString(key), ":");
      if (!ReadValue(depth, json)) return false;
      separator = ",";
    }
    absl::StrAppend(&json, separator == "{" ? "{}" : "}");
    return true;
  }

 private:
  bool ReadList(int depth, std::string& json) {
    if (depth > kDepthMax) return false;
    absl::string_view separator = "[";
    while (!ReadEnd(']')) {
      absl::StrAppend(&json, separator);
      if (!ReadValue(depth, json)) return false;
      separator = ",";
    }
    absl::StrAppend(&json, separator == "[" ? "[]" : "]");
    return true;
  }

  // Skips to the next entry; true if there is none.
  bool ReadEnd(char end) {
    while (!text_.empty() && (text_[0] == ',' || absl::ascii_isspace(text_[0]))) {
      text_.remove_prefix(1);
    }
    if (end == '\0') return text_.empty();
    return absl::ConsumePrefix(&text_, absl::string_view(&end, 1));
  }

  bool ReadKey(std::string& key) {
    if (text_[0] == kToolCallQuote) {
      key = std::string(ReadString());
      text_ = absl::StripLeadingAsciiWhitespace(text_);
      return absl::ConsumePrefix(&text_, ":");
    }
    const char stops[] = {':', ',', '{', '}', '[', ']', kToolCallQuote};
    const size_t end = text_.find_first_of(absl::string_view(stops, sizeof(stops)));
    if (end == absl::string_view::npos || text_[end] != ':') return false;
    key = std::string(absl::StripAsciiWhitespace(text_.substr(0, end)));
    text_.remove_prefix(end + 1);
    return !key.empty();
  }

  bool ReadValue(int depth, std::string& json) {
    text_ = absl::StripLeadingAsciiWhitespace(text_);
    if (text_.empty()) return false;
    if (text_[0] == kToolCallQuote) {
      absl::StrAppend(&json, JsonString(ReadString()));
      return true;
    }
    if (absl::ConsumePrefix(&text_, "{")) return ReadMapping('}', depth + 1, json);
    if (absl::ConsumePrefix(&text_, "[")) return ReadList(depth + 1, json);
    const absl::string_view bare =
        absl::StripAsciiWhitespace(text_.substr(0, text_.find_first_of(",}]")));
    if (bare.empty() || absl::StrContains(bare, kToolCallQuote)) return false;
    text_.remove_prefix(bare.size());
    absl::StrAppend(&json, JsonOfBare(bare));
    return true;
  }

  // REQUIRES: text_ begins with a quote.
  absl::string_view ReadString() {
    text_.remove_prefix(1);
    const absl::string_view string = text_.substr(0, text_.find(kToolCallQuote));
    text_.remove_prefix(string.size());
    if (!text_.empty()) text_.remove_prefix(1);
    return string;
  }

  absl::string_view text_;
};

}  // namespace

std::optional<ToolCall> ParseToolCall(absl::string_view text) {
  text = absl::StripAsciiWhitespace(text);
  if (!absl::ConsumePrefix(&text, "call:") || !absl::ConsumeSuffix(&text, "}")) {
    return std::nullopt;
  }
  const size_t brace = text.find('{');
  if (brace == absl::string_view::npos) return std::nullopt;
  ToolCall call;
  call.name = std::string(absl::StripAsciiWhitespace(text.substr(0, brace)));
  if (call.name.empty() || absl::StrContains(call.name, kToolCallQuote)) return std::nullopt;
  if (!Reader(text.substr(brace + 1)).ReadMapping('\0', 0, call.arguments)) return std::nullopt;
  return call;
}

}  // namespace facet
