#include "model/output_parser.h"

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gtest/gtest.h"
#include "model/testing/real_vocabulary.h"
#include "model/tokenizer.h"

namespace facet {
namespace {

using Options = OutputParser::Options;

class OutputParserTest : public ::testing::Test {
 protected:
  // Everything an output gives, as "reasoning|content|name arguments|...".
  struct Result {
    std::string reasoning, content;
    std::vector<std::string> calls;

    void Take(const OutputParser::Delta& delta) {
      reasoning += delta.reasoning;
      content += delta.content;
      for (const auto& call : delta.tool_calls) {
        if (call.index >= static_cast<int>(calls.size())) calls.resize(call.index + 1);
        if (!call.name.empty()) absl::StrAppend(&calls[call.index], call.name, " ");
        calls[call.index] += call.arguments;
      }
    }
    bool operator==(const Result& other) const = default;
    friend std::ostream& operator<<(std::ostream& out, const Result& result) {
      out << "[" << result.reasoning << "|" << result.content;
      for (const std::string& call : result.calls) out << "|" << call;
      return out << "]";
    }
  };

  // Marker texts become marker ids.
  Result Parse(absl::string_view output, const Options& options = {}) {
    return ParseIds(tokenizer_.Encode(output), options);
  }
  Result ParseIds(const std::vector<int>& ids, const Options& options = {}) {
    OutputParser parser(vocabulary_, options);
    Result result;
    for (const int id : ids) result.Take(parser.Add(id));
    result.Take(parser.Finish());
    return result;
  }

  const std::shared_ptr<const Vocabulary> vocabulary_ = testing::RealVocabulary();
  const Tokenizer tokenizer_{vocabulary_};
};

TEST_F(OutputParserTest, PlainTextIsContent) {
  EXPECT_EQ(Parse("Hello, world!<turn|>"), (Result{"", "Hello, world!", {}}));
  EXPECT_EQ(Parse(""), (Result{"", "", {}}));
}

TEST_F(OutputParserTest, ChannelIsReasoning) {
  EXPECT_EQ(Parse("<|channel>thought\nTwo and two.<channel|>4<turn|>"),
            (Result{"Two and two.", "4", {}}));
  EXPECT_EQ(Parse("<|channel>thoughtful words<channel|>4"), (Result{"thoughtful words", "4", {}}));
  EXPECT_EQ(Parse("<|channel>analysis\nx<channel|>4"), (Result{"analysis\nx", "4", {}}));
  EXPECT_EQ(Parse("<|channel>thought\nnever closed"), (Result{"never closed", "", {}}));
  EXPECT_EQ(Parse("a<|channel>thought\nb<channel|>c<|channel>thought\nd<channel|>e"),
            (Result{"bd", "ace", {}}));
}

TEST_F(OutputParserTest, OutputMayStartInAChannel) {
  Options options;
  options.starts_in_channel = true;
  EXPECT_EQ(Parse("Two and two.<channel|>4<turn|>", options), (Result{"Two and two.", "4", {}}));
  EXPECT_EQ(Parse("thought\nx<channel|>", options), (Result{"thought\nx", "", {}}));
}

TEST_F(OutputParserTest, StrayChannelMarkersAreDropped) {
  EXPECT_EQ(Parse("4<|channel>thought\n<channel|><turn|>"), (Result{"", "4", {}}));
  EXPECT_EQ(Parse("<|channel>thought<channel|>4"), (Result{"", "4", {}}));
  EXPECT_EQ(Parse("<|channel><channel|>4<channel|>"), (Result{"", "4", {}}));
  EXPECT_EQ(Parse("<channel|>4"), (Result{"", "4", {}}));
}

TEST_F(OutputParserTest, LeadingTurnHeaderIsDropped) {
  EXPECT_EQ(Parse("<|turn>model\nHi<turn|>"), (Result{"", "Hi", {}}));
  EXPECT_EQ(Parse("<|turn>models"), (Result{"", "models", {}}));
  EXPECT_EQ(Parse("model\nHi"), (Result{"", "model\nHi", {}}));
}

TEST_F(OutputParserTest, CallsBecomeJson) {
  EXPECT_EQ(Parse("<|channel>thought\nLook.<channel|><|tool_call>call:get_weather{city:<|\"|>Paris"
                  "<|\"|>,days:2}<tool_call|><|tool_call>call:now{}<tool_call|><|tool_response>"),
            (Result{"Look.", "", {R"(get_weather {"city":"Paris","days":2})", "now {}"}}));
  EXPECT_EQ(Parse("Wait.<|tool_call>call:f{a:[1,{b:null}]}<tool_call|>Done."),
            (Result{"", "Wait.Done.", {R"(f {"a":[1,{"b":null}]})"}}));
  EXPECT_EQ(Parse("<|channel>thought\nGo.<|tool_call>call:f{}<tool_call|>"),
            (Result{"Go.", "", {"f {}"}}))
      << "a call ends the channel";
}

// Given the text of markers as ordinary pieces: expect text, in a string too.
TEST_F(OutputParserTest, TextIsNeverAMarker) {
  const std::string text = "<|channel>thought\n<|tool_call>call:f{}<tool_call|><turn|>";
  EXPECT_EQ(ParseIds(tokenizer_.Encode(text, {false, false})), (Result{"", text, {}}));
  std::vector<int> ids = tokenizer_.Encode("<|tool_call>call:f{a:<|\"|>");
  for (const int id : tokenizer_.Encode("<|\"|><tool_call|>", {false, false})) ids.push_back(id);
  for (const int id : tokenizer_.Encode("<|\"|>}<tool_call|>")) ids.push_back(id);
  EXPECT_EQ(ParseIds(ids), (Result{"", "", {R"(f {"a":"<|\"|><tool_call|>"})"}}));
}

TEST_F(OutputParserTest, BrokenCallsAreContent) {
  for (const std::string output :
       {"a<|tool_call>call:f{a:<|\"|>b<|\"|>", "<|tool_call>nonsense<tool_call|>b",
        "<|tool_call>call:f{a:[1}<tool_call|>", "<|tool_call>call:f{a:<|\"|>b<|\"|>c}<tool_call|>x",
        "<|tool_call>", "<tool_call|>", "a<|\"|>b", "<|tool_call><|tool_call><tool_call|>",
        "<|tool_call>call:f{<channel|>}<tool_call|>", "<tool_response|>"}) {
    EXPECT_EQ(Parse(output), (Result{"", output, {}}));
  }
  EXPECT_EQ(Parse("<|tool_call>call:f{a:<|tool_call>call:g{}<tool_call|>"),
            (Result{"", "<|tool_call>call:f{a:", {"g {}"}}));
  EXPECT_EQ(Parse("<|tool_call>call:f{a:<|channel>thought\nhm<channel|>"),
            (Result{"hm", "<|tool_call>call:f{a:", {}}));
}

TEST_F(OutputParserTest, ParsingMayBeOff) {
  Options options;
  options.parse_reasoning = options.parse_tool_calls = false;
  options.starts_in_channel = true;
  const std::string output =
      "x<|channel>thought\na<channel|><|tool_call>call:f{b:<|\"|>c<|\"|>}<tool_call|>";
  EXPECT_EQ(Parse(output + "<|tool_response>", options), (Result{"", output, {}}));
}

// Given byte pieces around markers: expect whole characters, in their own place.
TEST_F(OutputParserTest, BytesBelongToTheirChannel) {
  EXPECT_EQ(ParseIds({100, 45518, 107, 433, 407, 101, 433, 407, 433}),
            (Result{"é", "\uFFFD\uFFFD\uFFFD", {}}));
  EXPECT_EQ(ParseIds({-1, 262144, 433, 407}), (Result{"", "é", {}}));
}

TEST_F(OutputParserTest, EachDeltaComesAsSoonAsItCan) {
  OutputParser parser(vocabulary_, {});
  const std::vector<int> ids = tokenizer_.Encode("Hello, <|tool_call>call:f{}<tool_call|>");
  EXPECT_EQ(parser.Add(ids[0]).content, "Hello");
  EXPECT_EQ(parser.Add(ids[1]).content, ",");
  OutputParser::Delta last;
  for (size_t i = 2; i < ids.size(); ++i) {
    EXPECT_TRUE(last.tool_calls.empty());
    last = parser.Add(ids[i]);
  }
  ASSERT_EQ(last.tool_calls.size(), 1u);
  EXPECT_EQ(last.tool_calls[0].name, "f");
  EXPECT_TRUE(parser.Finish().empty());
}

// Given random outputs: expect the same result however the ids are split.
TEST_F(OutputParserTest, SplitsChangeNothing) {
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::mt19937 random(seed);
  const std::vector<std::string> parts = {
      "<|channel>", "<channel|>", "<|tool_call>", "<tool_call|>", "<|\"|>", "call:f{", "}",
      "a:",         "thought",    "\n",           "thought\n",    "Hello",  "ߒߞ",      "🙂",
      "<|turn>",    "model\n",    "<turn|>",      "1,",           "[",      "]",       "\xFF"};
  for (int round = 0; round < 1000; ++round) {
    std::string output;
    for (int i = random() % 20; i > 0; --i) output += parts[random() % parts.size()];
    const std::vector<int> ids = tokenizer_.Encode(output);
    Options options;
    options.starts_in_channel = random() % 2;
    options.parse_reasoning = random() % 4 != 0;
    options.parse_tool_calls = random() % 4 != 0;
    const Result expected = ParseIds(ids, options);
    OutputParser parser(vocabulary_, options);
    Result result;
    for (size_t begin = 0; begin < ids.size();) {
      const size_t size = std::min<size_t>(random() % 8, ids.size() - begin);
      result.Take(parser.Add(absl::MakeConstSpan(ids).subspan(begin, size)));
      begin += size;
    }
    result.Take(parser.Finish());
    ASSERT_EQ(result, expected) << output;
  }
}

}  // namespace
}  // namespace facet
