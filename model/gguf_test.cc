#include "model/gguf.h"

#include <cstdint>
#include <random>
#include <string>

#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/gguf_writer.h"
#include "model/mapped_file.h"

namespace facet {
namespace {

using ::facet::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

Metadata ManyTypes() {
  Metadata metadata;
  metadata.Set("a.uint32", uint32_t{7});
  metadata.Set("b.float", 1.5f);
  metadata.Set("c.bool", true);
  metadata.Set("d.string", std::string("text"));
  metadata.Set("e.strings", std::vector<std::string>{"x", "", "yz"});
  metadata.Set("f.bools", std::vector<bool>{true, false});
  metadata.Set("g.ints", std::vector<int32_t>{-1, 2});
  metadata.Set("h.double", 2.5);
  metadata.Set("i.int8", int8_t{-3});
  return metadata;
}

std::vector<GgufTensorSource> TwoTensors() {
  return {{"small", TensorType::kF32, {3}, [] { return std::string(12, 'a'); }},
          {"large", TensorType::kQ8_0, {64, 2}, [] { return std::string(2 * 68, 'b'); }}};
}

std::string WriteAndRead(const Metadata& metadata, const std::vector<GgufTensorSource>& tensors) {
  const std::string path = ::testing::TempDir() + "/gguf_test.gguf";
  EXPECT_OK(WriteGgufFile(path, metadata, tensors, nullptr));
  auto file = MappedFile::Open(path);
  EXPECT_OK(file);
  return std::string((*file)->bytes());
}

// Given metadata of every kind, expect the reader to give back what the writer was given.
TEST(GgufTest, GivesBackWhatWasWritten) {
  const std::string file = WriteAndRead(ManyTypes(), TwoTensors());
  ASSERT_OK_AND_ASSIGN(const GgufHeader header, ParseGguf(file));
  EXPECT_EQ(header.metadata.values(), ManyTypes().values());
  ASSERT_EQ(header.tensors.size(), 2);
  EXPECT_EQ(header.tensors[1].name, "large");
  EXPECT_THAT(header.tensors[1].shape, ElementsAre(64, 2));
  EXPECT_EQ(file.substr(header.tensors[1].offset, header.tensors[1].size_bytes),
            std::string(136, 'b'));
}

// Given only metadata, expect a file that reads back too: workers send it to routers.
TEST(GgufTest, ReadsMetadataWithoutTensors) {
  ASSERT_OK_AND_ASSIGN(const GgufHeader header, ParseGguf(WriteGgufMetadata(ManyTypes())));
  EXPECT_EQ(header.metadata.values().size(), ManyTypes().values().size());
}

// Given each shorter prefix of a file, expect an error that names a field, never a crash.
TEST(GgufTest, RefusesEveryTruncation) {
  const std::string file = WriteAndRead(ManyTypes(), TwoTensors());
  // The last tensor ends 24 bytes before the file does: padding may be missing.
  for (size_t size = 0; size < file.size() - 24; ++size) {
    EXPECT_FALSE(ParseGguf(absl::string_view(file).substr(0, size)).ok()) << size;
  }
}

// Given random single bytes changed (seed 1), expect a status or a header within the file.
TEST(GgufTest, SurvivesChangedBytes) {
  const std::string file = WriteAndRead(ManyTypes(), TwoTensors());
  std::mt19937 random(1);
  for (int i = 0; i < 20000; ++i) {
    std::string changed = file;
    for (int k = 0; k < 3; ++k) changed[random() % changed.size()] = static_cast<char>(random());
    const auto header = ParseGguf(changed);
    if (!header.ok()) continue;
    for (const GgufTensorInfo& tensor : header->tensors) {
      EXPECT_LE(tensor.offset + tensor.size_bytes, changed.size());
    }
  }
}

// Given lengths that lie, expect the field's name.
TEST(GgufTest, NamesTheLyingField) {
  std::string file = WriteGgufMetadata(ManyTypes());
  EXPECT_THAT(ParseGguf("GGUX"), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("magic")));
  std::string version = file;
  version[4] = 9;
  EXPECT_THAT(ParseGguf(version),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("version")));
  std::string tensors = file;
  tensors[8 + 7] = 0x7f;
  EXPECT_THAT(ParseGguf(tensors),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("tensor count")));
  std::string strings = file;
  const size_t at = strings.find("e.strings") + 9 + 4 + 4;
  strings[at + 7] = 0x7f;
  EXPECT_THAT(ParseGguf(strings),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("'e.strings'")));
}

// Given a tensor whose row is no multiple of its block, expect a refusal that says so.
TEST(GgufTest, RefusesBrokenBlocks) {
  std::string file = WriteAndRead(ManyTypes(), TwoTensors());
  const size_t axis = file.find("large") + 5 + 4;
  file[axis] = 65;
  EXPECT_THAT(ParseGguf(file), StatusIs(absl::StatusCode::kInvalidArgument,
                                        AllOf(HasSubstr("'large'"), HasSubstr("Q8_0"))));
}

// Given an error in the middle of writing, expect no file under the final name.
TEST(GgufWriterTest, LeavesNoHalfFile) {
  const std::string path = ::testing::TempDir() + "/half.gguf";
  std::vector<GgufTensorSource> tensors = TwoTensors();
  tensors[1].bytes = []() -> absl::StatusOr<std::string> { return absl::AbortedError("stop"); };
  EXPECT_THAT(WriteGgufFile(path, ManyTypes(), tensors, nullptr),
              StatusIs(absl::StatusCode::kAborted, "stop"));
  EXPECT_FALSE(MappedFile::Open(path).ok());
  EXPECT_FALSE(MappedFile::Open(path + ".partial").ok());
}

}  // namespace
}  // namespace facet
