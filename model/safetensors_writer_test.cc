#include "model/safetensors_writer.h"

#include <string>
#include <vector>

#include "base/status_matchers.h"
#include "gtest/gtest.h"

namespace facet {
namespace {

// Given tensors, expect the reader to find them as they were, data at a multiple of 8.
TEST(SafetensorsWriterTest, ReadsBack) {
  const std::string floats(24, 'f'), bytes(5, 'b');
  const std::vector<SafetensorsTensor> tensors = {
      {"a", "F32", {2, 3}, floats}, {"b\"c", "U8", {5}, bytes}, {"empty", "I32", {0, 2}, ""}};
  const std::string file = SafetensorsFile(tensors);
  ASSERT_OK_AND_ASSIGN(const std::vector<SafetensorsTensor> read, ParseSafetensors(file));
  ASSERT_EQ(read.size(), tensors.size());
  for (const SafetensorsTensor& tensor : read) {
    for (const SafetensorsTensor& written : tensors) {
      if (written.name != tensor.name) continue;
      EXPECT_EQ(tensor.dtype, written.dtype);
      EXPECT_EQ(tensor.shape, written.shape);
      EXPECT_EQ(tensor.data, written.data);
    }
  }
  EXPECT_EQ((file.find(floats)) % 8, 0u);
}

// Given a folder that is not there, expect an error that names the file.
TEST(SafetensorsWriterTest, SaysWhatItCannotWrite) {
  EXPECT_EQ(WriteSafetensorsFile("no/such/folder/x", {}).code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace facet
