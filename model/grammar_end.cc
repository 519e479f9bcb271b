#include "model/grammar_end.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace facet {
namespace {

// One way through a rule: it ends when all the rules that it needs do.
struct Way {
  int rule;
  int missing = 0;  // needed rules that are not known to end, each use counted
};

struct Rule {
  std::string name;            // Empty: a group in parentheses.
  std::vector<int> needs;      // of its first way, in their order
  std::vector<int> needed_by;  // ways, one entry for each use
  bool ends = false;
};

// Reads the text from left to right; a group in parentheses is a rule without a name. False where
// the text is not in the form that is expected.
class Reader {
 public:
  explicit Reader(absl::string_view text) : text_(text) {}

  bool Read() {
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (absl::ascii_isspace(static_cast<unsigned char>(c))) {
        ++at_;
      } else if (IsNameByte(c)) {
        if (!ReadName()) return false;
      } else if (c == '(' && at_ + 1 < text_.size() && text_[at_ + 1] == '=') {
        SkipBalanced();  // A look-ahead takes nothing.
      } else if (open_.empty()) {
        return false;
      } else if (c == '"' || c == '[') {
        SkipQuoted();
      } else if (c == '*') {
        ++at_;  // Behind a class alone.
      } else if (c == '(') {
        const int group = AddRule("");
        Need(group);
        Open(group);
        ++at_;
      } else if (c == '|') {
        open_.back() = AddWay(ways[open_.back()].rule);
        ++at_;
      } else if (c == ')' && open_.size() > 1) {
        open_.pop_back();
        ++at_;
      } else {
        return false;
      }
    }
    return open_.size() <= 1;
  }

  std::vector<Rule> rules;
  std::vector<Way> ways;

 private:
  static bool IsNameByte(char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '-' || c == '.';
  }

  int RuleOf(absl::string_view name) {
    const auto [found, added] = names_.try_emplace(std::string(name), -1);
    if (added) found->second = AddRule(name);
    return found->second;
  }

  int AddRule(absl::string_view name) {
    rules.emplace_back().name = std::string(name);
    return static_cast<int>(rules.size()) - 1;
  }
  int AddWay(int rule) {
    ways.push_back({rule});
    return static_cast<int>(ways.size()) - 1;
  }
  void Open(int rule) {
    first_way_.resize(rules.size(), -1);
    open_.push_back(AddWay(rule));
    if (first_way_[rule] < 0) first_way_[rule] = open_.back();
  }
  void Need(int rule) {
    Way& way = ways[open_.back()];
    ++way.missing;
    rules[rule].needed_by.push_back(open_.back());
    if (first_way_[way.rule] == open_.back()) rules[way.rule].needs.push_back(rule);
  }

  // A rule's head, a rule that is used, or a macro.
  bool ReadName() {
    const size_t begin = at_;
    while (at_ < text_.size() && IsNameByte(text_[at_])) ++at_;
    const absl::string_view name = text_.substr(begin, at_ - begin);
    if (IsHead()) {
      if (open_.size() > 1) return false;
      open_.clear();
      Open(RuleOf(name));
      return true;
    }
    if (open_.empty() || at_ == text_.size()) return !open_.empty() && (Need(RuleOf(name)), true);
    if (text_[at_] == '(') {
      SkipBalanced();  // Token(1), Regex("a"): each of them ends.
      return true;
    }
    if (text_[at_] != '{') {
      Need(RuleOf(name));
      return true;
    }
    const size_t end = text_.find('}', at_);
    if (end == text_.npos) return false;
    // Not at all is one of the counts in {0, 5}.
    const absl::string_view least = text_.substr(at_ + 1, end - at_ - 1);
    if (least.substr(0, least.find(',')).find_first_not_of("0 ") != least.npos) Need(RuleOf(name));
    at_ = end + 1;
    return true;
  }

  // Whether "::=" follows, perhaps behind attributes in brackets; skips both then.
  bool IsHead() {
    size_t next = at_;
    if (next < text_.size() && text_[next] == '[') {
      next = text_.find(']', next);
      if (next == text_.npos) return false;
      ++next;
    }
    while (next < text_.size() && text_[next] == ' ') ++next;
    if (!absl::StartsWith(text_.substr(next), "::=")) return false;
    at_ = next + 3;
    return true;
  }

  void SkipQuoted() {
    const char last = text_[at_] == '"' ? '"' : ']';
    for (++at_; at_ < text_.size() && text_[at_] != last; ++at_) {
      if (text_[at_] == '\\') ++at_;
    }
    at_ = std::min(at_ + 1, text_.size());
  }

  void SkipBalanced() {
    int depth = 0;
    do {
      if (text_[at_] == '"' || text_[at_] == '[') {
        SkipQuoted();
        continue;
      }
      depth += text_[at_] == '(' ? 1 : text_[at_] == ')' ? -1 : 0;
      ++at_;
    } while (depth > 0 && at_ < text_.size());
  }

  const absl::string_view text_;
  size_t at_ = 0;
  std::vector<int> open_;       // the way that is read, of the rule and of each group in it
  std::vector<int> first_way_;  // of each rule, -1 before it is read
  absl::flat_hash_map<std::string, int> names_;
};

// Marks the rules that end: those with a way that needs nothing, then those that need these alone.
void MarkEnding(std::vector<Rule>& rules, std::vector<Way>& ways) {
  std::vector<int> ended;
  const auto end = [&](int rule) {
    if (!rules[rule].ends) ended.push_back(rule);
    rules[rule].ends = true;
  };
  for (const Way& way : ways) {
    if (way.missing == 0) end(way.rule);
  }
  while (!ended.empty()) {
    const int rule = ended.back();
    ended.pop_back();
    for (const int way : rules[rule].needed_by) {
      if (--ways[way].missing == 0) end(ways[way].rule);
    }
  }
}

// Along what the first ways need, the first rule with a name that is met twice.
std::string CircleFrom(int rule, const std::vector<Rule>& rules) {
  std::vector<bool> met(rules.size());
  while (rules[rule].name.empty() || !met[rule]) {
    met[rule] = true;
    const std::vector<int>& needs = rules[rule].needs;
    const auto next =
        std::find_if(needs.begin(), needs.end(), [&](int needed) { return !rules[needed].ends; });
    if (next == needs.end()) break;
    rule = *next;
  }
  return rules[rule].name;
}

}  // namespace

absl::Status CheckCanEnd(absl::string_view grammar) {
  Reader reader(grammar);
  if (!reader.Read() || reader.rules.empty()) return absl::OkStatus();
  MarkEnding(reader.rules, reader.ways);
  if (reader.rules[0].ends) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("no answer can ever end: rule `",
                                                 CircleFrom(0, reader.rules),
                                                 "` always comes to itself again"));
}

}  // namespace facet
