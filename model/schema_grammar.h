#ifndef FACET_MODEL_SCHEMA_GRAMMAR_H_
#define FACET_MODEL_SCHEMA_GRAMMAR_H_

#include <boost/json/fwd.hpp>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace facet {

// JSON schemas (2020-12) as rules of a grammar (model/grammar.h). Every answer of the grammar is
// valid under its schema; not every valid answer is one of the grammar:
//
// - Properties come in the order in which they are declared. Others come only where none is
// declared.
// - There is one space or none after a comma and a colon, and no other white space.
// - Integers have at most 18 digits. `pattern` holds for the whole string.
//
// A keyword that the grammar would not enforce is refused, unless it is an annotation. `format` is
// one, but for those that have a regular form. A schema that no value satisfies is refused;
// recursion is allowed where it can end.
class SchemaGrammar {
 public:
  // How values are written: as JSON, or as in Gemma's tool calls, whose strings stand between two
  // tokens of `string_quote_id` and are not escaped, and whose keys stand bare. The names of rules
  // begin differently, so that both fit into one grammar.
  static SchemaGrammar Json() { return SchemaGrammar("", /*json=*/true); }
  static SchemaGrammar ToolCall(int string_quote_id);

  // Adds what a schema needs and gives back the name of its rule. INVALID_ARGUMENT begins with the
  // place of what is wrong, below `path`. `schema` must outlive this.
  absl::StatusOr<std::string> Add(const boost::json::value& schema, const std::string& path);
  // All rules, one a line.
  std::string Rules() const;

 private:
  // One way to write what a rule stands for: possible if all of `rules` are.
  struct Choice {
    std::string text;
    std::vector<int> rules;
  };
  struct Rule {
    std::vector<Choice> choices;
    bool possible = false;
  };
  // A schema, and its place for messages.
  struct Place {
    const boost::json::value& schema;
    std::string path;
    int depth = 0;
  };
  struct Property;

  SchemaGrammar(std::string quote, bool json) : quote_(std::move(quote)), json_(json) {}

  absl::StatusOr<int> Value(const Place& place);
  absl::Status FillValue(const Place& place, int rule);
  absl::Status FillReference(const Place& place, int rule);
  absl::Status FillAlternatives(const Place& place, absl::string_view keyword, int rule);
  absl::Status FillLiterals(const Place& place, int rule);
  absl::Status FillType(const Place& place, absl::string_view type, int rule);
  absl::Status FillObject(const Place& place, int rule);
  absl::Status FillProperties(const std::vector<Property>& properties, bool may_be_empty, int rule);
  absl::Status FillMap(const Place& place, const boost::json::value* values, int rule);
  absl::Status FillArray(const Place& place, int rule);
  absl::Status FillString(const Place& place, int rule);
  absl::Status FillInteger(const Place& place, int rule);
  absl::Status FillNumber(const Place& place, int rule);
  // The rule of any value, any object, any string; each made once.
  int Any();
  int AnyObject();
  int AnyString();
  int Shared(const std::string& name, std::vector<Choice> (SchemaGrammar::*make)());
  std::vector<Choice> MakeAny();
  std::vector<Choice> MakeAnyObject();
  std::vector<Choice> MakeAnyString();

  int NewRule();
  std::string Name(int rule) const;
  std::string Key(absl::string_view name) const;
  std::string Literal(const boost::json::value& value) const;
  // `content` between quotes.
  std::string Quoted(absl::string_view content) const;
  std::string Pattern(absl::string_view pattern) const;
  // Marks the rules that something satisfies, and drops the choices that nothing does.
  void FindPossible();

  const std::string quote_;  // of tool calls: the token
  const bool json_;
  const boost::json::value* root_ = nullptr;  // that references point into
  std::string root_path_;
  std::vector<Rule> rules_;
  bool counts_characters_ = false;  // some string has a length
  // The rules of schemas that were seen, so that recursion comes back to them.
  absl::flat_hash_map<const boost::json::value*, int> rule_of_;
  std::map<std::string, int> shared_;
};

// Text as an EBNF string that matches just it.
std::string EbnfString(absl::string_view text);
// A regular expression as an EBNF macro that matches what it does as a whole. INVALID_ARGUMENT: it
// has what is not supported (look-around, back references, anchors inside), or is too long.
absl::StatusOr<std::string> EbnfRegex(absl::string_view pattern, bool json_string);

}  // namespace facet

#endif  // FACET_MODEL_SCHEMA_GRAMMAR_H_
