#include "kernels/quantize.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/dequantize.h"

namespace facet {
namespace {

using ::facet::testing::StatusIs;
using ::testing::HasSubstr;

struct Case {
  const char* name;
  float error_max;  // root mean square error over root mean square, normal values
};

class QuantizeTest : public ::testing::TestWithParam<Case> {
 protected:
  TensorType type() const { return TensorTypeFromName(GetParam().name).value(); }
  std::vector<float> RoundTrip(const std::vector<float>& values) const {
    const auto blocks = Quantize(type(), values);
    EXPECT_OK(blocks);
    EXPECT_EQ(static_cast<int64_t>(blocks->size()), RowBytes(type(), values.size()));
    std::vector<float> decoded(values.size());
    Dequantize(type(), blocks->data(), values.size(), decoded.data());
    return decoded;
  }
};

// Given normal values (seed 1), expect the decoded ones within the format's usual error.
TEST_P(QuantizeTest, DecodesNearTheOriginal) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0.0f, 0.3f);
  std::vector<float> values(256 * 40);
  for (float& value : values) value = normal(random);
  const std::vector<float> decoded = RoundTrip(values);
  double error = 0, power = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    error += (values[i] - decoded[i]) * (values[i] - decoded[i]);
    power += values[i] * values[i];
  }
  EXPECT_LT(std::sqrt(error / power), GetParam().error_max);
}

// Given zeros, equal values and one outlier, expect no NaN and zeros kept.
TEST_P(QuantizeTest, KeepsSpecialBlocks) {
  for (const float value : RoundTrip(std::vector<float>(256, 0.0f))) EXPECT_EQ(value, 0.0f);
  for (const float value : RoundTrip(std::vector<float>(256, -0.5f))) {
    EXPECT_NEAR(value, -0.5f, 0.02f);
  }
  std::vector<float> outlier(256, 0.0f);
  outlier[77] = 100.0f;
  EXPECT_NEAR(RoundTrip(outlier)[77], 100.0f, 1.0f);
}

// Given what a format itself can hold, expect it back unchanged: coding loses nothing twice.
TEST_P(QuantizeTest, IsNearlyIdempotent) {
  std::mt19937 random(2);
  std::vector<float> values(1024);
  for (float& value : values) value = static_cast<float>(random() % 2001) / 1000.0f - 1.0f;
  const std::vector<float> once = RoundTrip(values);
  const std::vector<float> twice = RoundTrip(once);
  for (size_t i = 0; i < once.size(); ++i) EXPECT_NEAR(once[i], twice[i], 0.05f);
}

// Given infinities or half a block, expect a refusal that says so.
TEST_P(QuantizeTest, RefusesBadInput) {
  std::vector<float> values(256, 0.0f);
  values[3] = std::numeric_limits<float>::infinity();
  EXPECT_THAT(Quantize(type(), values),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("value 3")));
  if (InfoOf(type()).block_elements > 1) {
    EXPECT_THAT(Quantize(type(), std::vector<float>(33, 0.0f)),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("whole blocks")));
  }
}

INSTANTIATE_TEST_SUITE_P(Types, QuantizeTest,
                         ::testing::Values(Case{"F32", 1e-9f}, Case{"F16", 4e-4f},
                                           Case{"BF16", 3e-3f}, Case{"Q8_0", 7e-3f},
                                           Case{"Q4_0", 0.11f}, Case{"Q4_K", 0.08f},
                                           Case{"Q5_K", 0.04f}, Case{"Q6_K", 0.022f}),
                         [](const auto& info) { return info.param.name; });

TEST(QuantizeTypesTest, RefusesTypesItCannotWrite) {
  EXPECT_FALSE(CanQuantize(TensorType::kQ2_K));
  EXPECT_THAT(Quantize(TensorType::kQ2_K, std::vector<float>(256)),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("Q2_K")));
}

}  // namespace
}  // namespace facet
