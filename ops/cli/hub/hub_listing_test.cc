#include "ops/cli/hub/hub_listing.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace facet {
namespace {

using ::facet::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> Paths(const std::vector<HubFile>& files) {
  std::vector<std::string> paths;
  for (const HubFile& file : files) paths.push_back(file.path);
  return paths;
}

std::vector<HubFile> Files(const std::vector<std::string>& paths) {
  std::vector<HubFile> files;
  for (const std::string& path : paths) files.push_back({path, 1, std::string(64, 'a'), ""});
  return files;
}

// Given names with and without a revision, expect the paths that a hub answers.
TEST(HubRepositoryTest, Parses) {
  ASSERT_OK_AND_ASSIGN(const HubRepository plain, ParseHubRepository("google/gemma-4-12B-it"));
  EXPECT_EQ(plain.ListingTarget(), "/api/models/google/gemma-4-12B-it/tree/main?recursive=true");
  EXPECT_EQ(plain.FileTarget("config.json"), "/google/gemma-4-12B-it/resolve/main/config.json");
  EXPECT_EQ(plain.FolderName(), "google--gemma-4-12B-it--main");
  ASSERT_OK_AND_ASSIGN(const HubRepository change, ParseHubRepository("a_b/c.d@refs/pr/1"));
  EXPECT_EQ(change.ListingTarget(), "/api/models/a_b/c.d/tree/refs%2Fpr%2F1?recursive=true");
  EXPECT_EQ(change.FileTarget("x"), "/a_b/c.d/resolve/refs%2Fpr%2F1/x");
}

// Given what is no repository's name, expect an error that quotes it.
TEST(HubRepositoryTest, RefusesOtherNames) {
  for (const std::string source :
       {"", "name", "/name", "owner/", "a/b/c", "../b", "a/..", "a/b..c", ".a/b", "-a/b", "a/b c",
        "a/b?x", "a/b\n", "a/b@", "a/b@x y", "a/b@../x", "a/b@x//y", "a/b@x@y"}) {
    EXPECT_THAT(ParseHubRepository(source),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("'" + source + "'")));
  }
  EXPECT_FALSE(ParseHubRepository("a/" + std::string(97, 'b')).ok());
  EXPECT_FALSE(ParseHubRepository("a/b@" + std::string(300, 'b')).ok());
}

// Given a listing as Hugging Face writes it, expect its files with the digest that each has.
TEST(HubListingTest, Parses) {
  const std::string sha256(64, 'a'), sha1(40, 'b');
  ASSERT_OK_AND_ASSIGN(
      const std::vector<HubFile> files,
      ParseHubListing(absl::StrCat(
          R"([{"type":"directory","oid":")", sha1, R"(","size":0,"path":"onnx"},)",
          R"({"type":"file","oid":")", sha1, R"(","size":12,"path":"config.json"},)",
          R"({"type":"file","oid":")", sha1, R"(","size":23919549408,"path":"model.safetensors",)",
          R"("lfs":{"oid":")", sha256, R"(","size":23919549408,"pointerSize":136},)",
          R"("xetHash":"00"}])")));
  ASSERT_THAT(Paths(files), ElementsAre("config.json", "model.safetensors"));
  EXPECT_EQ(files[0].git_sha1, sha1);
  EXPECT_EQ(files[0].sha256, "");
  EXPECT_EQ(files[1].sha256, sha256);
  EXPECT_EQ(files[1].size_bytes, 23919549408);
}

// Given listings that say too little or nonsense, expect the entry and the field.
TEST(HubListingTest, NamesWhatIsWrong) {
  const struct {
    std::string json, what;
  } kCases[] = {
      {"[", "list of files"},
      {"{}", "not an array"},
      {"[1]", "entry 0 is not an object"},
      {R"([{"path":"x"}])", "'type'"},
      {R"([{"type":"file"}])", "'path'"},
      {R"([{"type":"file","path":"x"}])", "'size'"},
      {R"([{"type":"file","path":"x","size":-1}])", "'size'"},
      {R"([{"type":"file","path":"x","size":1e30}])", "'size'"},
      {R"([{"type":"file","path":"x","size":99999999999999999}])", "(x): 'size'"},
      {R"([{"type":"file","path":"x","size":1}])", "'oid' is not a string"},
      {R"([{"type":"file","path":"x","size":1,"oid":"zz"}])", "'oid' is not a SHA-1"},
      {R"([{"type":"file","path":"x","size":1,"lfs":{"oid":"AA"}}])", "lfs: 'oid'"},
  };
  for (const auto& c : kCases) {
    EXPECT_THAT(ParseHubListing(c.json),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(c.what)))
        << c.json;
  }
}

// Given Link headers, expect the page that follows, if one does.
TEST(HubListingTest, FindsTheNextPage) {
  EXPECT_EQ(NextPage(R"(<https://hub/api?cursor=x>; rel="next")"), "https://hub/api?cursor=x");
  EXPECT_EQ(NextPage(R"(</a>; rel="prev", </b>; rel="next")"), "/b");
  for (const char* none : {"", "<", "><", R"(<x>; rel="prev")", R"(x; rel="next")"}) {
    EXPECT_EQ(NextPage(none), "") << none;
  }
}

// Given repositories of each kind, expect what an import reads of them and nothing else.
TEST(HubListingTest, SelectsWhatAnImportReads) {
  const std::vector<HubFile> one =
      Files({".gitattributes", "README.md", "config.json", "consolidated.safetensors",
             "model.safetensors", "onnx/config.json", "tokenizer.json"});
  ASSERT_OK_AND_ASSIGN(const auto small, SelectSmallFiles(one));
  EXPECT_THAT(Paths(small), ElementsAre("config.json", "tokenizer.json"));
  ASSERT_OK_AND_ASSIGN(const auto weights, SelectWeights(one, ""));
  EXPECT_THAT(Paths(weights), ElementsAre("model.safetensors"));

  const std::vector<HubFile> many =
      Files({"config.json", "model-1.safetensors", "model-2.safetensors", "old.safetensors",
             "model.safetensors.index.json"});
  ASSERT_OK_AND_ASSIGN(const auto parts,
                       SelectWeights(many, R"({"weight_map":{"a":"model-1.safetensors",
                                               "b":"model-2.safetensors"}})"));
  EXPECT_THAT(Paths(parts), ElementsAre("model-1.safetensors", "model-2.safetensors"));

  const std::vector<HubFile> adapter =
      Files({"adapter_config.json", "adapter_model.safetensors", "tokenizer.json"});
  ASSERT_OK_AND_ASSIGN(const auto config, SelectSmallFiles(adapter));
  EXPECT_THAT(Paths(config), ElementsAre("adapter_config.json"));
  ASSERT_OK_AND_ASSIGN(const auto its_weights, SelectWeights(adapter, ""));
  EXPECT_THAT(Paths(its_weights), ElementsAre("adapter_model.safetensors"));
}

// Given repositories without a model or with half of one, expect the file that is missing.
TEST(HubListingTest, NamesWhatIsMissing) {
  EXPECT_THAT(SelectSmallFiles(Files({"model.gguf"})),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("config.json")));
  EXPECT_THAT(SelectWeights(Files({"config.json"}), ""),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("model.safetensors")));
  EXPECT_THAT(SelectWeights(Files({"config.json"}), R"({"weight_map":{"a":"m-1.safetensors"}})"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("m-1.safetensors")));
  EXPECT_THAT(SelectWeights(Files({"config.json"}), R"({"weight_map":{"a":"../../x"}})"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("['a']")));
  EXPECT_THAT(SelectWeights(Files({"config.json"}), R"({"weight_map":{"a":".hidden"}})"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("'.hidden'")));
}

}  // namespace
}  // namespace facet
