// Our decoders against gguf-py's, a reference that we did not write: every block format, by the
// plain decoder and by that of each instruction set.
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_matchers.h"
#include "gtest/gtest.h"
#include "kernels/cpu/cpu_device.h"
#include "kernels/dequantize.h"
#include "model/mapped_file.h"
#include "model/safetensors.h"

namespace facet {
namespace {

class BlockFormatsTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(file_, MappedFile::Open("tests/testdata/blocks.safetensors"));
    ASSERT_OK_AND_ASSIGN(const auto tensors, ParseSafetensors(file_->bytes()));
    for (const SafetensorsTensor& tensor : tensors) {
      if (tensor.name == absl::StrCat(GetParam(), ".blocks")) blocks_ = tensor.data;
      if (tensor.name == absl::StrCat(GetParam(), ".values")) {
        expected_.resize(tensor.data.size() / sizeof(float));
        std::memcpy(expected_.data(), tensor.data.data(), tensor.data.size());
      }
    }
    ASSERT_FALSE(expected_.empty());
    ASSERT_OK_AND_ASSIGN(type_, TensorTypeFromName(GetParam()));
  }

  // Equal but for the sign of zero: gguf-py computes in another order where that cannot matter.
  void ExpectEqual(const std::vector<float>& actual) const {
    for (size_t i = 0; i < expected_.size(); ++i) {
      ASSERT_NEAR(actual[i], expected_[i], 1e-6f * std::abs(expected_[i])) << "index " << i;
    }
  }

  std::unique_ptr<MappedFile> file_;
  absl::string_view blocks_;
  std::vector<float> expected_;
  TensorType type_ = TensorType::kF32;
};

TEST_P(BlockFormatsTest, DecodeAsGgufPyDoes) {
  const auto count = static_cast<int64_t>(expected_.size());
  ASSERT_EQ(static_cast<int64_t>(blocks_.size()), RowBytes(type_, count));
  std::vector<float> plain(count);
  Dequantize(type_, blocks_.data(), count, plain.data());
  ExpectEqual(plain);
  for (const char* path : {"avx2", "avx512"}) {
    const auto device = MakeCpuDevice({1, path});
    if (!device.ok()) continue;
    const Weight table = {type_, 1, count, blocks_.data()};
    const int32_t id = 0;
    std::vector<float> decoded(count);
    (*device)->EmbedTokens(table, &id, 1, 1.0f, decoded.data());
    EXPECT_EQ(decoded, plain) << path;
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, BlockFormatsTest,
                         ::testing::Values("F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0",
                                           "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL",
                                           "IQ4_XS"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace facet
