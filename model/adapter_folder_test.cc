#include "model/adapter_folder.h"

#include <filesystem>
#include <string>

#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/testing/files.h"

namespace facet {
namespace {

using ::facet::testing::EmptyFolder;
using ::facet::testing::StatusIs;
using ::facet::testing::WriteFile;
using ::testing::HasSubstr;

// Given PEFT folders, GGUF files, links to such, and what is neither, expect the former by name.
TEST(AdapterFolderTest, ListsWhatIsAnAdapter) {
  const std::string elsewhere = EmptyFolder("elsewhere");
  WriteFile(elsewhere + "/adapter_config.json", "{}");
  const std::string folder = EmptyFolder("adapters");
  for (const char* name : {"b", "a.v2", ".hidden", "with space", "plain"}) {
    std::filesystem::create_directory(folder + "/" + name);
    if (std::string(name) == "plain") continue;
    WriteFile(folder + "/" + name + "/adapter_config.json", "{}");
  }
  WriteFile(folder + "/c.gguf", "x");
  WriteFile(folder + "/b.gguf", "x");
  WriteFile(folder + "/readme.txt", "x");
  std::filesystem::create_directory_symlink(elsewhere, folder + "/linked");
  std::filesystem::create_directory_symlink(folder + "/gone", folder + "/dangling");
  ASSERT_OK_AND_ASSIGN(const std::vector<AdapterPath> adapters, ListAdapters(folder));
  std::vector<std::string> listed;
  for (const AdapterPath& adapter : adapters) listed.push_back(adapter.name + " " + adapter.path);
  EXPECT_THAT(listed,
              ::testing::ElementsAre("a.v2 " + folder + "/a.v2", "b " + folder + "/b",
                                     "c " + folder + "/c.gguf", "linked " + folder + "/linked"));
}

// Given no such folder, expect its path.
TEST(AdapterFolderTest, MissingFolderIsNamed) {
  EXPECT_THAT(ListAdapters("nowhere/adapters"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("nowhere/adapters")));
}

// Given names that could be no file's or would leave the folder, expect a refusal.
TEST(AdapterFolderTest, ChecksNames) {
  for (const std::string& name :
       {std::string("a"), std::string("Pirate-2_b.v1"), std::string(128, 'x')}) {
    EXPECT_OK(CheckAdapterName(name));
  }
  for (const std::string& name :
       {std::string(), std::string("."), std::string("../a"), std::string("a/b"),
        std::string("a:b"), std::string("a b"), std::string("\xC3\xA4"), std::string(129, 'x')}) {
    EXPECT_THAT(CheckAdapterName(name),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("name '")))
        << name;
  }
}

}  // namespace
}  // namespace facet
