#include "model/tool_call_syntax.h"

#include <boost/json.hpp>
#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gtest/gtest.h"
#include "model/chat_values.h"

namespace facet {
namespace {

// In the tests, ~ stands for the quote piece.
std::optional<ToolCall> Parse(absl::string_view text) {
  return ParseToolCall(absl::StrReplaceAll(text, {{"~", std::string(1, kToolCallQuote)}}));
}

// "NAME ARGUMENTS", or "" for a call that does not parse.
std::string Read(absl::string_view text) {
  const std::optional<ToolCall> call = Parse(text);
  return call ? absl::StrCat(call->name, " ", call->arguments) : "";
}

TEST(ToolCallSyntaxTest, EveryKindOfValueBecomesJson) {
  EXPECT_EQ(Read("call:get_weather{city:~Paris~,days:2}"),
            R"(get_weather {"city":"Paris","days":2})");
  EXPECT_EQ(Read("call:f{}"), "f {}");
  EXPECT_EQ(Read("call:a.b-c_1{x:null,y:true,z:false}"),
            R"(a.b-c_1 {"x":null,"y":true,"z":false})");
  EXPECT_EQ(Read("call:f{a:{b:{c:~d~}},e:[],g:{}}"), R"(f {"a":{"b":{"c":"d"}},"e":[],"g":{}})");
  EXPECT_EQ(Read("call:f{a:[1,~b~,[true],{c:-2.5}]}"), R"(f {"a":[1,"b",[true],{"c":-2.5}]})");
  EXPECT_EQ(Read("call:f{n:1e-05,b:12345678901234567890123}"),
            R"(f {"n":1e-05,"b":12345678901234567890123})");
}

TEST(ToolCallSyntaxTest, StringsAreTakenAsTheyAre) {
  EXPECT_EQ(Read("call:f{a:~,:}]{[ \"\\\n~}"), R"(f {"a":",:}]{[ \"\\\n"})");
  EXPECT_EQ(Read("call:f{a:~<|\"|>~}"), R"(f {"a":"<|\"|>"})");
  EXPECT_EQ(Read("call:f{a:~日本 🙂~}"), R"(f {"a":"日本 🙂"})");
}

TEST(ToolCallSyntaxTest, SmallSlipsAreForgiven) {
  EXPECT_EQ(Read(" call: f { a : 1 , b : ~x~ , } \n"), R"(f {"a":1,"b":"x"})");
  EXPECT_EQ(Read("call:f{~a b~:1}"), R"(f {"a b":1})");
  EXPECT_EQ(Read("call:f{a:None,b:NIL,c:True}"), R"(f {"a":null,"b":null,"c":true})");
  EXPECT_EQ(Read("call:f{a:plain words,b:http://x,c:007}"),
            R"(f {"a":"plain words","b":"http://x","c":"007"})");
  EXPECT_EQ(Read("call:f{a:~Paris}"), R"(f {"a":"Paris"})") << "an open string takes the rest";
}

TEST(ToolCallSyntaxTest, WhatDoesNotParseIsNoCall) {
  for (const char* text :
       {"", "call:", "call:f", "call:f{", "f{}", "call:{}", "call:f{a}", "call:f{a:}", "call:f{:1}",
        "call:f{a:[1}", "call:f{a:{b:1}", "call:f{a:1}}", "call:f{a:1]}", "call:f{a:b~c~}",
        "call:f{} and more", "call:f~{}", "call:f{a:[}]}"}) {
    EXPECT_EQ(Read(text), "") << text;
  }
}

TEST(ToolCallSyntaxTest, DepthIsBounded) {
  const auto nested = [](int depth) {
    return absl::StrCat("call:f{a:", std::string(depth, '['), std::string(depth, ']'), "}");
  };
  EXPECT_NE(Read(nested(64)), "");
  EXPECT_EQ(Read(nested(65)), "");
  EXPECT_EQ(Read(nested(1'000'000)), "");
  std::string mappings = "call:f{";
  for (int i = 0; i < 100'000; ++i) mappings += "a:{";
  EXPECT_EQ(Read(mappings + std::string(100'001, '}')), "");
}

boost::json::value RandomValue(std::mt19937& random, int depth) {
  static const char* const kStrings[] = {"",    "a", "x:y", "{",    "}",
                                         "[,]", " ", "\"",  "né\n", "true"};
  switch (random() % (depth > 3 ? 5 : 7)) {
    case 0:
      return nullptr;
    case 1:
      return random() % 2 == 0;
    case 2:
      return static_cast<int64_t>(random()) - (1 << 30);
    case 3:
      return static_cast<double>(random() % 10000) / 8;
    case 4:
      return boost::json::value(kStrings[random() % std::size(kStrings)]);
    case 5: {
      boost::json::array list;
      for (int i = random() % 4; i > 0; --i) list.push_back(RandomValue(random, depth + 1));
      return list;
    }
    default: {
      boost::json::object mapping;
      for (int i = random() % 4; i > 0; --i) {
        mapping[std::string(1, static_cast<char>('a' + random() % 26))] =
            RandomValue(random, depth + 1);
      }
      return mapping;
    }
  }
}

// Given random arguments, written as the chat template writes them: expect them back.
TEST(ToolCallSyntaxTest, ReadsWhatTheTemplateWrites) {
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::mt19937 random(seed);
  for (int round = 0; round < 2000; ++round) {
    const boost::json::value arguments =
        boost::json::object{{"v", RandomValue(random, 0)}, {"w", RandomValue(random, 0)}};
    std::string text = "call:f";
    AppendValue(arguments, KeyStyle::kBare, text);
    const auto call =
        ParseToolCall(absl::StrReplaceAll(text, {{"<|\"|>", std::string(1, kToolCallQuote)}}));
    ASSERT_TRUE(call) << text;
    ASSERT_EQ(boost::json::parse(call->arguments), arguments) << text;
  }
}

// Given random bytes out of the syntax's own: expect no crash, and JSON if it is a call.
TEST(ToolCallSyntaxTest, AnyTextIsHandled) {
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::mt19937 random(seed);
  int calls = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string text = "call:f{";
    for (int i = random() % 12; i > 0; --i) text += "a:,{}[]~1 "[random() % 10];
    const auto call = Parse(text + "}");
    if (!call) continue;
    ++calls;
    ASSERT_TRUE(boost::json::parse(call->arguments).is_object()) << text;
  }
  EXPECT_GT(calls, 100);
}

}  // namespace
}  // namespace facet
