#include "ops/cli/convert_tensor.h"

#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/quantize.h"

namespace facet {
namespace {

using ::facet::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

absl::string_view BytesOf(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

// Given a matrix of several pieces and a rest, expect what one call of Quantize gives, whatever the
// number of threads.
TEST(ConvertTensorTest, ThreadsChangeNothing) {
  constexpr int64_t kColumns = 512, kRows = 5001;
  std::mt19937 random(1);
  std::vector<float> values(kColumns * kRows);
  for (float& value : values) value = static_cast<float>(random() % 2001) / 1000.0f - 1.0f;
  const Tensor tensor = {
      "blk.0.attn_q.weight", TensorType::kF32, {kColumns, kRows}, BytesOf(values)};
  ASSERT_OK_AND_ASSIGN(const std::string expected, Quantize(TensorType::kQ8_0, values));
  for (const int threads : {1, 2, 5}) {
    ASSERT_OK_AND_ASSIGN(const std::string bytes,
                         ConvertTensor(tensor, TensorType::kQ8_0, threads));
    EXPECT_TRUE(bytes == expected) << threads;
  }
}

// Given the type that a tensor has, expect its bytes, even those that could not be coded.
TEST(ConvertTensorTest, SameTypeIsACopy) {
  const std::vector<float> values = {1, std::numeric_limits<float>::infinity()};
  const Tensor tensor = {"x", TensorType::kF32, {2}, BytesOf(values)};
  EXPECT_THAT(ConvertTensor(tensor, TensorType::kF32, 2),
              testing::IsOkAndHolds(std::string(BytesOf(values))));
}

// Given a value that no block holds, expect the tensor's name and where it is.
TEST(ConvertTensorTest, NamesWhatIsNotFinite) {
  std::vector<float> values(32 * 4);
  values[33] = std::numeric_limits<float>::quiet_NaN();
  const Tensor tensor = {"blk.3.ffn_up.weight", TensorType::kF32, {32, 4}, BytesOf(values)};
  EXPECT_THAT(ConvertTensor(tensor, TensorType::kQ4_0, 1),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("blk.3.ffn_up.weight"), HasSubstr("value 33"))));
}

}  // namespace
}  // namespace facet
