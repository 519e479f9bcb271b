#include "model/tokenizer_json.h"

#include <boost/json.hpp>
#include <string>
#include <vector>

#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/testing/files.h"
#include "model/testing/real_vocabulary.h"
#include "model/tokenizer.h"

namespace facet {
namespace {

using ::facet::testing::StatusIs;
using ::testing::HasSubstr;
namespace json = boost::json;

// The vocabulary of `metadata` in the form of a tokenizer.json.
json::object WriteTokenizerJson(const Metadata& metadata) {
  const auto& tokens = **metadata.GetStrings("tokenizer.ggml.tokens");
  const auto types = *metadata.GetInts("tokenizer.ggml.token_type");
  json::object vocabulary;
  json::array added;
  for (size_t id = 0; id < tokens.size(); ++id) {
    vocabulary[tokens[id]] = id;
    if (types[id] >= 2 && types[id] <= 4) {
      added.push_back({{"id", id}, {"content", tokens[id]}, {"special", true}});
    }
  }
  json::array merges;
  for (const std::string& merge : **metadata.GetStrings("tokenizer.ggml.merges")) {
    const size_t space = merge.find(' ');
    merges.push_back({merge.substr(0, space), merge.substr(space + 1)});
  }
  return {{"added_tokens", added},
          {"normalizer", {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "▁"}}},
          {"pre_tokenizer", {{"type", "Split"}, {"pattern", {{"String", " "}}}}},
          {"model",
           {{"type", "BPE"},
            {"unk_token", "<unk>"},
            {"byte_fallback", true},
            {"vocab", vocabulary},
            {"merges", merges}}}};
}

json::object SmallFile() {
  return json::parse(testing::ReadFile("tests/testdata/text/tokenizer_small.json")).as_object();
}

absl::Status Read(const json::object& file) {
  Metadata metadata;
  return AddTokenizerJson(json::serialize(file), metadata);
}

// Given the real vocabulary in both forms: expect equal metadata.
TEST(TokenizerJsonTest, BothFormsOfTheRealVocabularyAreEqual) {
  const Metadata& expected = testing::RealVocabularyMetadata();
  Metadata metadata;
  ASSERT_OK(AddTokenizerJson(json::serialize(WriteTokenizerJson(expected)), metadata));
  EXPECT_TRUE(metadata.values() == expected.values());
}

// Given merges as "left right", as older files have them: expect the same.
TEST(TokenizerJsonTest, MergesMayBeStrings) {
  json::object file = SmallFile();
  Metadata expected;
  ASSERT_OK(AddTokenizerJson(json::serialize(file), expected));
  json::value& merges = file.at("model").at("merges");
  json::array strings;
  for (const json::value& pair : merges.as_array()) {
    json::string merge = pair.at(0).as_string();
    merge.append(" ");
    merge.append(pair.at(1).as_string());
    strings.push_back(merge);
  }
  merges = strings;
  Metadata metadata;
  ASSERT_OK(AddTokenizerJson(json::serialize(file), metadata));
  EXPECT_TRUE(metadata.values() == expected.values());
}

// Given a small vocabulary: expect it to load and to encode.
TEST(TokenizerJsonTest, SmallVocabularyEncodes) {
  Metadata metadata;
  ASSERT_OK(
      AddTokenizerJson(testing::ReadFile("tests/testdata/text/tokenizer_small.json"), metadata));
  ASSERT_OK_AND_ASSIGN(const auto vocabulary, Vocabulary::FromMetadata(metadata));
  EXPECT_EQ(vocabulary->size(), 2048);
  EXPECT_EQ(vocabulary->stop_ids(), (std::vector<int>{1, 50, 106}));
  const Tokenizer tokenizer(vocabulary);
  std::string text;
  for (const int id : tokenizer.Encode("The end is near.\n<|turn>\xF0\x9F\x98\x80")) {
    text += std::string(vocabulary->text(id));
  }
  EXPECT_EQ(text, "The end is near.\n<|turn>\xF0\x9F\x98\x80");
}

// Given a file with one thing wrong: expect an error that names it, and metadata unchanged.
TEST(TokenizerJsonTest, ErrorsNameTheField) {
  const auto expect_error = [](const char* what, auto change) {
    json::object file = SmallFile();
    change(file);
    EXPECT_THAT(Read(file), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(what)));
  };
  expect_error("model is missing", [](json::object& file) { file.erase("model"); });
  expect_error("model.type", [](json::object& file) { file.at("model").at("type") = "Unigram"; });
  expect_error("model.byte_fallback",
               [](json::object& file) { file.at("model").at("byte_fallback") = false; });
  expect_error("model.ignore_merges",
               [](json::object& file) { file.at("model").at("ignore_merges") = true; });
  expect_error("normalizer", [](json::object& file) { file.at("normalizer") = nullptr; });
  expect_error("pre_tokenizer",
               [](json::object& file) { file.at("pre_tokenizer").at("type") = "ByteLevel"; });
  expect_error("model.vocab", [](json::object& file) { file.at("model").at("vocab") = 1; });
  expect_error("id -1", [](json::object& file) { file.at("model").at("vocab").at("<bos>") = -1; });
  expect_error("id 3 twice",
               [](json::object& file) { file.at("model").at("vocab").at("<bos>") = 3; });
  expect_error("no piece of id 2048", [](json::object& file) {
    file.at("model").at("vocab").as_object()["new piece"] = 2049;
  });
  // 2^24 would ask for half a gigabyte of pieces.
  expect_error("the id 16777215", [](json::object& file) {
    file.at("model").at("vocab").as_object()["new piece"] = 16777215;
  });
  expect_error("added_tokens[1]",
               [](json::object& file) { file.at("added_tokens").at(1) = "<eos>"; });
  expect_error("model.merges[2]",
               [](json::object& file) { file.at("model").at("merges").at(2) = 5; });
}

TEST(TokenizerJsonTest, BrokenJsonIsAnErrorAndLeavesMetadataAlone) {
  Metadata metadata;
  for (const std::string text : {"", "[]", "{\"model\":", "{\"model\":{}}"}) {
    EXPECT_THAT(AddTokenizerJson(text, metadata),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("tokenizer.json")));
  }
  EXPECT_THAT(AddTokenizerJson(std::string(100'000, '['), metadata),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not JSON")));
  EXPECT_TRUE(metadata.values().empty());
}

}  // namespace
}  // namespace facet
