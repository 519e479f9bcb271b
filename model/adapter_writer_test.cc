#include "model/adapter_writer.h"

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/config.h"
#include "model/model_file.h"
#include "model/testing/files.h"

namespace facet {
namespace {

using ::facet::testing::StatusIs;
using ::testing::HasSubstr;

constexpr char kGolden[] = "tests/testdata/golden/";
constexpr int64_t kBytesMax = 1 << 20;

TextConfig GoldenConfig() {
  const auto metadata = ReadModelMetadata(absl::StrCat(kGolden, "model.gguf"));
  return ReadTextConfig(metadata.value()).value();
}

// Given the golden PEFT folder and GGUF adapter, expect what is written to be the same adapter.
TEST(AdapterWriterTest, WritesWhatItRead) {
  const std::string path = absl::StrCat(testing::EmptyFolder("adapter"), "/written.gguf");
  for (const char* source : {"lora", "lora.gguf"}) {
    ASSERT_OK_AND_ASSIGN(const auto adapter, AdapterFile::Open(absl::StrCat(kGolden, source),
                                                               GoldenConfig(), kBytesMax));
    ASSERT_OK(WriteAdapterGguf(*adapter, "pirate", path));
    ASSERT_OK_AND_ASSIGN(const auto written, AdapterFile::Open(path, GoldenConfig(), kBytesMax));
    EXPECT_EQ(written->digest(), adapter->digest()) << source;
    ASSERT_OK_AND_ASSIGN(const Metadata metadata, ReadModelMetadata(path));
    EXPECT_EQ(metadata.GetString("general.name").value(), "pirate");
  }
}

// Given a folder that cannot be written to, expect an error with the path.
TEST(AdapterWriterTest, NamesWhatCannotBeWritten) {
  ASSERT_OK_AND_ASSIGN(const auto adapter,
                       AdapterFile::Open(absl::StrCat(kGolden, "lora"), GoldenConfig(), kBytesMax));
  EXPECT_THAT(WriteAdapterGguf(*adapter, "", "/nowhere/x.gguf"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/nowhere/x.gguf")));
}

}  // namespace
}  // namespace facet
