#include "model/schema_grammar.h"

#include <boost/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/grammar.h"
#include "model/tokenizer.h"
#include "tests/fake_worker/small_model.h"

namespace facet {
namespace {

using ::testing::HasSubstr;

GrammarCompiler& Compiler() {
  static GrammarCompiler& compiler = *GrammarCompiler::Make(testing::SmallVocabulary())->release();
  return compiler;
}

absl::StatusOr<std::string> Ebnf(SchemaGrammar grammar, const boost::json::value& schema) {
  const auto root = grammar.Add(schema, "schema");
  if (!root.ok()) return root.status();
  return absl::StrCat("root ::= ", *root, "\n", grammar.Rules());
}

// Whether `text` as a whole is an answer of the grammar.
bool Accepts(const std::string& ebnf, const std::string& text) {
  const auto matcher = Compiler().Compile(ebnf, {1});
  EXPECT_OK(matcher) << ebnf;
  if (!matcher.ok()) return false;
  for (const uint32_t id : testing::SmallIds(text)) {
    if (!(*matcher)->Accept(static_cast<int32_t>(id))) return false;
  }
  return (*matcher)->IsComplete();
}

struct Case {
  const char* schema;
  std::vector<std::string> accepted;
  std::vector<std::string> refused;
};

void Check(SchemaGrammar (*make)(), const std::vector<Case>& cases) {
  for (const Case& one : cases) {
    const boost::json::value schema = boost::json::parse(one.schema);
    const auto ebnf = Ebnf(make(), schema);
    ASSERT_OK(ebnf) << one.schema;
    for (const std::string& text : one.accepted) {
      EXPECT_TRUE(Accepts(*ebnf, text)) << one.schema << "\n" << text << "\n" << *ebnf;
    }
    for (const std::string& text : one.refused) {
      EXPECT_FALSE(Accepts(*ebnf, text)) << one.schema << "\n" << text << "\n" << *ebnf;
    }
  }
}

// For each keyword: answers that are valid, and some that are not.
TEST(SchemaGrammarTest, AcceptsWhatIsValidAlone) {
  Check(
      &SchemaGrammar::Json,
      {{R"({})",
        {R"({"a": [1, -2.5e3, "x\n\u00e9", true, null, {}]})", "[]", R"("the")", "0"},
        {"[1,]", "{a:1}", "01", R"("\ud800")", "\"\n\"", "", "tru"}},
       {R"({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "boolean"},
            "c": {}}, "required": ["b"]})",
        {R"({"b":true})", R"({"a": 1, "b": false, "c": "x"})", R"({"b":true, "c":{}})"},
        {"{}", R"({"a": 1})", R"({"b": 1})", R"({"b": true, "d": 1})", R"({"b": true,})"}},
       {R"({"type": "object", "properties": {"a": {}, "b": {}}, "minProperties": 1})",
        {R"({"a":1})", R"({"b":1})"},
        {"{}"}},
       {R"({"type": "object", "required": ["x y\""], "additionalProperties": {"type": "null"}})",
        {R"({"x y\"": null})"},
        {R"({"x y\"": 1})", "{}"}},
       {R"({"type": "object"})", {"{}", R"({"a": 1, "b": [2]})"}, {"[]", "1"}},
       {R"({"additionalProperties": {"type": "integer"}, "maxProperties": 2})",
        {"{}", R"({"a": 1, "b": 2})"},
        {R"({"a": "1"})", R"({"a": 1, "b": 2, "c": 3})"}},
       {R"({"type": "object", "properties": {}, "additionalProperties": false})",
        {"{}"},
        {"{\"a\":1}"}},
       {R"({"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 3})",
        {"[1, 2]", "[1,2,3]"},
        {"[]", "[1]", "[1,2,3,4]", "[1,\"2\"]"}},
       {R"({"type": "array", "maxItems": 0})", {"[]"}, {"[1]"}},
       {R"({"prefixItems": [{"type": "integer"}, {"type": "string"}], "items": false, "minItems": 1})",
        {"[1]", R"([1, "a"])"},
        {"[]", R"(["a"])", R"([1, "a", 2])"}},
       {R"({"prefixItems": [{"type": "integer"}], "items": {"type": "null"}, "minItems": 3, "maxItems": 4})",
        {"[1, null, null]", "[1,null,null,null]"},
        {"[1]", "[1, null]", "[1,null,null,null,null]"}},
       {R"({"type": "string", "minLength": 2, "maxLength": 3})",
        {R"("ab")", R"("a\n")", R"("the")"},
        {R"("a")", R"("abcd")", "ab"}},
       {R"({"type": "string", "pattern": "^[A-Z]{2}-\\d{3,300}$"})",
        {R"("AB-123")", R"("AB-12345")"},
        {R"("AB-12")", R"("xAB-123")"}},
       {R"({"type": "string", "pattern": "."})", {R"("a")"}, {R"(""")", R"("ab")"}},
       {R"({"type": "string", "format": "date"})",
        {R"("2024-02-28")", R"("1999-12-31")"},
        {R"("2023-02-30")", R"("2023-13-01")", R"("2023-1-1")"}},
       {R"({"type": "string", "format": "ipv4"})", {R"("10.0.255.1")"}, {R"("256.1.1.1")"}},
       {R"({"type": "integer"})", {"0", "-7", "123456789012345678"}, {"1.0", "1e3", "+1", "00"}},
       {R"({"type": "integer", "minimum": -12, "exclusiveMaximum": 105})",
        {"-12", "-1", "0", "9", "99", "100", "104"},
        {"-13", "-20", "-0", "105", "110", "1000"}},
       {R"({"type": "integer", "minimum": 3})", {"3", "10", "999999"}, {"2", "-3", "0"}},
       {R"({"type": "integer", "multipleOf": 5, "minimum": 1, "maximum": 16})",
        {"5", "10", "15"},
        {"0", "1", "20"}},
       {R"({"type": "integer", "multipleOf": 100})", {"0", "-200", "1500"}, {"150", "10"}},
       {R"({"type": "number"})", {"0", "-0.5", "1e9", "2.50"}, {".5", "1.", "1e", "NaN"}},
       {R"({"type": "number", "minimum": 0, "maximum": 1})",
        {"0", "0.5", "0.999", "1", "1.0"},
        {"1.5", "-0.1", "2", "1.01"}},
       {R"({"type": "number", "minimum": -0.25, "maximum": 2.5})",
        {"-0.25", "-0.10", "0", "0.00", "1.75", "2", "2.50"},
        {"-0.26", "-1", "2.51", "3"}},
       {R"({"type": "number", "exclusiveMinimum": 0})", {"0.01", "1", "7.25"}, {"0", "0.0", "-1"}},
       {R"({"type": "number", "maximum": -1.5})",
        {"-1.5", "-1.75", "-2", "-30.1"},
        {"-1.4", "-1", "0"}},
       {R"({"enum": ["a\"b", 1, null, {"k": [true]}]})",
        {R"("a\"b")", "1", "null", R"({"k":[true]})"},
        {R"("a")", "2"}},
       {R"({"enum": [-1.5, 5.56, [0.1]]})", {"-1.5", "5.56", "[0.1]"}, {"5.6"}},
       {R"({"type": "number", "minimum": 5.56})", {"5.56", "6"}, {"5.55"}},
       {R"({"type": "string", "enum": ["a", 1]})", {R"("a")"}, {"1"}},
       {R"({"const": "the"})", {R"("the")"}, {R"("th")"}},
       {R"({"type": ["string", "null"], "maxLength": 1})", {"null", R"("x")"}, {R"("xy")", "1"}},
       {R"({"anyOf": [{"type": "integer"}, {"type": "boolean"}, false]})",
        {"1", "true"},
        {R"("a")"}},
       {R"({"oneOf": [{"type": "integer"}, {"type": "string"}]})", {"1", R"("a")"}, {"null"}},
       {R"({"oneOf": [{"type": "object", "properties": {"k": {"const": "a"}}, "required": ["k"]},
                      {"type": "object", "properties": {"k": {"const": "b"}}, "required": ["k"]}]})",
        {R"({"k": "a"})", R"({"k":"b"})"},
        {R"({"k": "c"})"}},
       {R"({"allOf": [{"$ref": "#/$defs/a~1b"}], "description": "x", "$defs": {"a/b": {"type": "null"}}})",
        {"null"},
        {"1"}},
       // Recursion that can end; and a property that cannot be there.
       {R"({"type": "object", "properties": {"v": {"type": "integer"}, "next": {"$ref": "#"}},
            "required": ["v"]})",
        {R"({"v": 1})", R"({"v": 1, "next": {"v": 2, "next": {"v": 3}}})"},
        {R"({"next": {"v": 1}})"}},
       {R"({"type": "object", "properties": {"never": false, "a": {"type": "integer"}}})",
        {"{}", R"({"a": 1})"},
        {R"({"never": 1})"}}});
}

SchemaGrammar MakeToolCall() {
  return SchemaGrammar::ToolCall(*testing::SmallVocabulary()->roles().string_quote);
}

// In the syntax of tool calls: quotes are tokens, keys are bare, nothing is escaped.
TEST(SchemaGrammarTest, WritesToolCalls) {
  Check(
      &MakeToolCall,
      {{R"({"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"},
             "unit": {"enum": ["c", "f"]}}, "required": ["city"]})",
        {R"({city:<|"|>th"e\<|"|>})", R"({city:<|"|><|"|>,days:2,unit:<|"|>c<|"|>})"},
        {R"({city:"the"})", R"({"city":<|"|>a<|"|>})", R"({days:2})",
         R"({city:<|"|>a<|"|>, days:2})", R"({city:<|"|>a<|"|>,unit:<|"|>x<|"|>})"}},
       {R"({"type": "object", "properties": {"a b": {"const": {"x": ["y", 1]}}}, "required": ["a b"]})",
        {R"({<|"|>a b<|"|>:{x:[<|"|>y<|"|>,1]}})"},
        {R"({a b:{x:[<|"|>y<|"|>,1]}})"}},
       {R"({"type": "array", "items": {"type": "string", "maxLength": 2}})",
        {R"([<|"|>ab<|"|>,<|"|><|"|>])", "[]"},
        {R"([<|"|>abc<|"|>])"}}});
}

// What is wrong, satisfied by nothing or not enforced is refused with its place.
TEST(SchemaGrammarTest, RefusesWithItsPlace) {
  const struct {
    const char *schema, *message;
  } cases[] = {
      {R"(1)", "schema: a schema must be an object"},
      {R"(false)", "schema: no value satisfies"},
      {R"({"$ref": "#"})", "schema: no value satisfies"},
      {R"({"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["next"]})",
       "schema: no value satisfies"},
      {R"({"properties": {"a": {"type": "strnig"}}})", "schema.properties.a.type: \"strnig\""},
      {R"({"type": 7})", "schema.type: must be"},
      {R"({"type": ["string", 7]})", "schema.type: must be"},
      {R"({"properties": []})", "schema.properties: must be an object"},
      {R"({"properties": {"a": 3}})", "schema.properties.a: a schema"},
      {R"({"required": "a"})", "schema.required: must be"},
      {R"({"required": [1]})", "schema.required: must be"},
      {R"({"type": "object", "required": ["a"], "additionalProperties": false})", "no value"},
      {R"({"type": "object", "minProperties": 5})", "schema.minProperties"},
      {R"({"properties": {"a": {}, "b": {}}, "maxProperties": 1})", "schema.maxProperties"},
      {R"({"patternProperties": {}})", "schema.patternProperties: this keyword"},
      {R"({"not": {}})", "schema.not: this keyword"},
      {R"({"if": {}})", "schema.if: this keyword"},
      {R"({"unevaluatedItems": {}})", "schema.unevaluatedItems"},
      {R"({"type": "array", "uniqueItems": true})", "schema.uniqueItems"},
      {R"({"type": "array", "minItems": 3, "maxItems": 2})", "no value satisfies"},
      {R"({"type": "array", "minItems": -1})", "schema.minItems: must be"},
      {R"({"type": "array", "minItems": 1e9})", "schema.minItems: more than"},
      {R"({"type": "array", "items": [{}]})", "schema.items: must be a schema"},
      {R"({"type": "array", "minItems": 1, "items": false})", "no value satisfies"},
      {R"({"type": "string", "minLength": 2, "maxLength": 1})", "no value satisfies"},
      {R"({"type": "string", "maxLength": "1"})", "schema.maxLength: must be"},
      {R"({"type": "string", "pattern": "(?=a)b"})", "schema.pattern: the group at byte 0"},
      {R"({"type": "string", "pattern": "a\\1"})", "schema.pattern: \\1 at byte 1"},
      {R"({"type": "string", "pattern": "a^b"})", "schema.pattern: the anchor at byte 1"},
      {R"({"type": "string", "pattern": "(a"})", "schema.pattern: the pattern's brackets"},
      {R"({"type": "string", "pattern": "a", "minLength": 2})", "schema.minLength: is not"},
      {R"({"type": "integer", "minimum": 2, "maximum": 1})", "no integer"},
      {R"({"type": "integer", "minimum": "2"})", "schema.minimum: must be a number"},
      {R"({"type": "integer", "multipleOf": 0})", "schema.multipleOf"},
      {R"({"type": "integer", "multipleOf": 7})", "schema.multipleOf"},
      {R"({"type": "integer", "multipleOf": 7, "minimum": 1, "maximum": 6})", "no multiple"},
      {R"({"type": "number", "multipleOf": 0.01})", "schema.multipleOf"},
      {R"({"type": "number", "minimum": 1, "exclusiveMaximum": 1})", "no number lies"},
      {R"({"type": "number", "minimum": 0.12345678})", "more than 6 decimals"},
      {R"({"type": "number", "minimum": 1e300})", "too large"},
      {R"({"enum": []})", "schema.enum"},
      {R"({"enum": [1], "type": "string"})", "no value satisfies"},
      {R"({"const": 1, "minimum": 2})", "schema.minimum: is not supported beside `const`"},
      {R"({"anyOf": [], "x": 1})", "schema.anyOf"},
      {R"({"anyOf": [{}], "type": "object"})", "schema.type: is not supported beside"},
      {R"({"oneOf": [{"type": "integer"}, {"type": "number"}]})", "schema.oneOf: schemas 0 and 1"},
      {R"({"allOf": [{}, {}]})", "schema.allOf: more than one"},
      {R"({"$ref": "#/nowhere"})", "schema.$ref: \"#/nowhere\" is not there"},
      {R"({"$ref": "http://x"})", "schema.$ref: must begin"},
  };
  for (const auto& [text, message] : cases) {
    const boost::json::value schema = boost::json::parse(text);
    const auto ebnf = Ebnf(SchemaGrammar::Json(), schema);
    EXPECT_EQ(ebnf.status().code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(ebnf.status().message()), HasSubstr(message)) << text;
  }
}

// A chain of references or a schema of very many parts ends in a message, not in a deep stack.
TEST(SchemaGrammarTest, BoundsDepthAndSize) {
  boost::json::object definitions;
  for (int i = 0; i < 5000; ++i) {
    definitions[absl::StrCat("d", i)] = {{"$ref", absl::StrCat("#/$defs/d", i + 1)}};
  }
  const boost::json::value chain = {{"$ref", "#/$defs/d0"}, {"$defs", definitions}};
  EXPECT_THAT(std::string(Ebnf(SchemaGrammar::Json(), chain).status().message()),
              HasSubstr("more than 128 schemas"));
  boost::json::object properties;
  for (int i = 0; i < 9000; ++i) properties[absl::StrCat("p", i)] = {{"type", "integer"}};
  const boost::json::value wide = {{"properties", properties}};
  EXPECT_THAT(std::string(Ebnf(SchemaGrammar::Json(), wide).status().message()),
              HasSubstr("too large"));
}

}  // namespace
}  // namespace facet
