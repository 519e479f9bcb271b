// The GPU's coder of keys and values, run on the host, against kernels/kv_format.h.
#include "kernels/cuda/kv_code.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/kv_format.h"

namespace facet::cuda {
namespace {

constexpr KvFormat kFormats[] = {KvFormat::kF32, KvFormat::kBf16, KvFormat::kFp8, KvFormat::kQ8};

// Rows of sizes that fill groups and do not, with ties, subnormal, huge and not finite values.
std::vector<std::vector<float>> Rows() {
  std::vector<std::vector<float>> rows;
  std::mt19937 random(31);
  std::normal_distribution<float> normal;
  for (const int count : {1, 31, 32, 33, 64, 320, 1024}) {
    for (const float scale : {1.0f, 1e-3f, 1e-9f, 1e4f, 1e30f}) {
      std::vector<float> row(count);
      for (float& value : row) value = scale * normal(random);
      rows.push_back(row);
    }
  }
  std::vector<float> odd(64);
  for (size_t i = 0; i < odd.size(); ++i) odd[i] = static_cast<float>(i) * 0.0009765625f - 0.03f;
  odd[3] = 0.0f, odd[4] = -0.0f, odd[5] = 448.0f, odd[6] = -464.0f, odd[7] = 1e-40f;
  rows.push_back(odd);
  odd[40] = std::numeric_limits<float>::quiet_NaN();
  rows.push_back(odd);
  odd[1] = std::numeric_limits<float>::infinity();
  rows.push_back(odd);
  return rows;
}

// Given these rows in each format, expect equal codes, and equal values read back from them.
TEST(KvCodeTest, MatchesTheHostsCoder) {
  for (const std::vector<float>& row : Rows()) {
    const int count = static_cast<int>(row.size());
    for (const KvFormat format : kFormats) {
      const auto code = static_cast<KvCode>(static_cast<int>(format));
      std::vector<uint8_t> expected(KvBytes(format, count)), actual(expected.size());
      EncodeKv(format, row.data(), count, expected.data());
      for (int group = 0; group * kKvGroup < count; ++group) {
        EncodeKvGroup(code, row.data(), count, group, actual.data());
      }
      ASSERT_EQ(actual, expected) << NameOf(format) << " of " << count;
      std::vector<float> decoded(count);
      DecodeKv(format, expected.data(), count, decoded.data());
      for (int i = 0; i < count; ++i) {
        const float value = KvValue(code, expected.data(), count, i);
        if (std::isnan(value) && std::isnan(decoded[i])) continue;
        ASSERT_EQ(BitsOf(value), BitsOf(decoded[i])) << NameOf(format) << " value " << i;
      }
    }
  }
}

// Given every code of FP8, expect the host's value.
TEST(KvCodeTest, EveryByteOfFp8) {
  for (int code = 0; code < 256; ++code) {
    const auto byte = static_cast<uint8_t>(code);
    float expected;
    DecodeKv(KvFormat::kFp8, &byte, 1, &expected);
    const float actual = E4m3Value(byte);
    if (std::isnan(expected) && std::isnan(actual)) continue;
    EXPECT_EQ(BitsOf(actual), BitsOf(expected)) << code;
  }
}

}  // namespace
}  // namespace facet::cuda
