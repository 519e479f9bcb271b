// The codes of stored keys and values against what the formats' definitions say, spelled out here
// in other words, and every instruction set's decoder against the plain one, bit for bit.
#include "kernels/kv_format.h"

#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/cpu/cpu_features.h"

namespace facet {
namespace {

using ::facet::testing::StatusIs;
using ::testing::HasSubstr;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr KvFormat kAll[] = {KvFormat::kF32, KvFormat::kBf16, KvFormat::kFp8, KvFormat::kQ8};

std::vector<uint8_t> Encode(KvFormat format, const std::vector<float>& values) {
  std::vector<uint8_t> codes(KvBytes(format, static_cast<int64_t>(values.size())));
  EncodeKv(format, values.data(), static_cast<int64_t>(values.size()), codes.data());
  return codes;
}

std::vector<float> Decode(KvFormat format, const std::vector<uint8_t>& codes, int64_t count) {
  std::vector<float> values(count);
  DecodeKv(format, codes.data(), count, values.data());
  return values;
}

float ThereAndBack(KvFormat format, float value) {
  return Decode(format, Encode(format, {value}), 1)[0];
}

// The value of a finite e4m3 code, from its definition: (-1)^s 2^(e - 7) (1 + m / 8), or
// (-1)^s 2^-6 m / 8 where e is 0.
double E4m3(int code) {
  const int e = code / 8 % 16, m = code % 8;
  const double magnitude = e == 0 ? std::exp2(-6) * m / 8 : std::exp2(e - 7) * (1 + m / 8.0);
  return code < 128 ? magnitude : -magnitude;
}

// Given all 256 codes, expect their defined values, and that these are coded as themselves.
TEST(Fp8Test, AllCodesHaveTheirValues) {
  for (int code = 0; code < 256; ++code) {
    const float value = Decode(KvFormat::kFp8, {static_cast<uint8_t>(code)}, 1)[0];
    if (code % 128 == 127) {
      EXPECT_TRUE(std::isnan(value)) << code;
      EXPECT_EQ(Encode(KvFormat::kFp8, {value})[0] & 0x7F, 0x7F);
      continue;
    }
    EXPECT_EQ(value, E4m3(code)) << code;
    EXPECT_EQ(std::signbit(value), code >= 128) << code;
    EXPECT_EQ(Encode(KvFormat::kFp8, {value})[0], code);
  }
}

// Given the middle between two neighbouring codes, expect the even one; a hair to either side, the
// nearer.
TEST(Fp8Test, RoundsToNearestTiesToEven) {
  for (int code = 0; code < 126; ++code) {
    const auto middle = static_cast<float>((E4m3(code) + E4m3(code + 1)) / 2);
    const int even = code % 2 == 0 ? code : code + 1;
    for (const float sign : {1.0f, -1.0f}) {
      const int offset = sign < 0 ? 128 : 0;
      EXPECT_EQ(Encode(KvFormat::kFp8, {sign * middle})[0], even + offset);
      EXPECT_EQ(Encode(KvFormat::kFp8, {sign * std::nextafter(middle, 0.0f)})[0], code + offset);
      EXPECT_EQ(Encode(KvFormat::kFp8, {sign * std::nextafter(middle, 1e9f)})[0],
                code + 1 + offset);
    }
  }
}

// Given what is larger than the largest code, expect that code.
TEST(Fp8Test, SaturatesAt448) {
  for (const float large : {448.0f, 449.0f, 464.0f, 480.0f, 1e9f, kInfinity}) {
    EXPECT_EQ(ThereAndBack(KvFormat::kFp8, large), 448.0f) << large;
    EXPECT_EQ(ThereAndBack(KvFormat::kFp8, -large), -448.0f) << large;
  }
}

// Given random floats, expect the nearest of the two bfloat16 around each, found by trying both.
TEST(Bf16Test, RoundsToNearest) {
  std::mt19937 random(21);
  for (int i = 0; i < 100000; ++i) {
    const auto bits = static_cast<uint32_t>(random());
    float value, below, above;
    std::memcpy(&value, &bits, sizeof(value));
    const uint32_t cut = bits & 0xFFFF0000, next = cut + 0x10000;
    std::memcpy(&below, &cut, sizeof(below));
    std::memcpy(&above, &next, sizeof(above));
    if (!std::isfinite(value) || !std::isfinite(above)) continue;
    const double to_below = std::abs(double{value} - below),
                 to_above = std::abs(double{above} - value);
    if (to_below == to_above) continue;
    ASSERT_EQ(ThereAndBack(KvFormat::kBf16, value), to_below < to_above ? below : above) << bits;
  }
}

// Given the middle between neighbours, expect the even code; given what is not finite, itself.
TEST(Bf16Test, TiesToEvenAndKeepsWhatIsNotFinite) {
  EXPECT_EQ(ThereAndBack(KvFormat::kBf16, 1.0f + std::exp2(-8.0f)), 1.0f);
  EXPECT_EQ(ThereAndBack(KvFormat::kBf16, 1.0f + 3 * std::exp2(-8.0f)), 1.0f + std::exp2(-6.0f));
  EXPECT_EQ(ThereAndBack(KvFormat::kBf16, -kInfinity), -kInfinity);
  EXPECT_EQ(ThereAndBack(KvFormat::kBf16, std::numeric_limits<float>::max()), kInfinity);
  EXPECT_TRUE(std::isnan(ThereAndBack(KvFormat::kBf16, kNan)));
  // A NaN whose bits are all in the half that is cut off.
  const uint32_t bits = 0x7F800001;
  float nan;
  std::memcpy(&nan, &bits, sizeof(nan));
  EXPECT_TRUE(std::isnan(ThereAndBack(KvFormat::kBf16, nan)));
}

// Given random values of many sizes, expect each within half a step of 1/127 of its 32 neighbours'
// largest, also in a last block that is short.
TEST(Q8Test, IsWithinHalfAStepOfEachBlock) {
  std::mt19937 random(22);
  std::normal_distribution<float> normal;
  std::vector<float> values(80);
  for (int i = 0; i < 80; ++i) {
    const int block = i / kKvStepValues;
    values[i] = normal(random) * std::exp2(static_cast<float>(block * 6 - 6));
  }
  const std::vector<uint8_t> codes = Encode(KvFormat::kQ8, values);
  EXPECT_EQ(codes.size(), 80u + 3 * 2);
  const std::vector<float> decoded = Decode(KvFormat::kQ8, codes, 80);
  for (int i = 0; i < 80; ++i) {
    float largest = 0;
    for (int j = i / 32 * 32; j < std::min(80, i / 32 * 32 + 32); ++j) {
      largest = std::max(largest, std::abs(values[j]));
    }
    // The step is rounded to a half: 2^-11 of 127 steps.
    EXPECT_LE(std::abs(decoded[i] - values[i]), largest / 127 * (0.5f + 127 * std::exp2(-11.0f)))
        << i;
  }
}

// Given zeros, a NaN, or an infinity in a block, expect zeros, or NaN in all of that block alone.
TEST(Q8Test, ZerosAndWhatIsNotFinite) {
  EXPECT_EQ(Decode(KvFormat::kQ8, Encode(KvFormat::kQ8, std::vector<float>(32)), 32),
            std::vector<float>(32));
  for (const float bad : {kNan, kInfinity, 1e30f}) {
    std::vector<float> values(64, 1.0f);
    values[5] = bad;
    const std::vector<float> decoded = Decode(KvFormat::kQ8, Encode(KvFormat::kQ8, values), 64);
    EXPECT_TRUE(std::isnan(decoded[5])) << bad;
    EXPECT_NEAR(decoded[40], 1.0f, 1e-3f) << bad;
  }
}

// Given rows with every kind of code, expect each instruction set to read what the plain decoder
// reads, bit for bit.
TEST(KvDecoderTest, InstructionSetsAgree) {
  std::mt19937 random(23);
  for (const char* path : {"avx2", "avx512"}) {
    const auto kernels = PickVectorKernels(path);
    if (!kernels.ok()) {
      std::printf("no %s on this processor\n", path);
      continue;
    }
    for (const KvFormat format : kAll) {
      for (const int count : {16, 32, 80, 640}) {
        std::vector<uint8_t> codes(KvBytes(format, count));
        for (size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<uint8_t>(i % 256);
        if (count == 640) {
          for (uint8_t& code : codes) code = static_cast<uint8_t>(random());
        }
        std::vector<float> actual(count);
        (*kernels)->decode_kv[static_cast<int>(format)](codes.data(), count, actual.data());
        const std::vector<float> expected = Decode(format, codes, count);
        for (int i = 0; i < count; ++i) {
          if (std::isnan(expected[i])) {
            ASSERT_TRUE(std::isnan(actual[i])) << path << " " << NameOf(format) << " " << i;
          } else {
            ASSERT_EQ(actual[i], expected[i]) << path << " " << NameOf(format) << " " << i;
            ASSERT_EQ(std::signbit(actual[i]), std::signbit(expected[i]));
          }
        }
      }
    }
  }
}

// Given values as an RMS norm without weight leaves them (V), expect FP8's relative error to be
// what 3 bits of mantissa allow: at most 2^-4 of a value, about 2.6 % of the whole in the mean
// square. Nothing saturates: a normed value is at most sqrt(512) = 22.6.
TEST(Fp8Test, ErrorOfNormedValues) {
  std::mt19937 random(24);
  std::normal_distribution<float> normal;
  for (const KvFormat format : {KvFormat::kBf16, KvFormat::kFp8, KvFormat::kQ8}) {
    double squared_error = 0, squared = 0;
    float worst = 0;
    for (int row = 0; row < 1000; ++row) {
      std::vector<float> values(512);
      double sum = 0;
      for (float& value : values) {
        value = normal(random);
        sum += double{value} * value;
      }
      for (float& value : values) value = static_cast<float>(value / std::sqrt(sum / 512));
      const std::vector<float> decoded = Decode(format, Encode(format, values), 512);
      for (int i = 0; i < 512; ++i) {
        const float error = std::abs(decoded[i] - values[i]);
        squared_error += double{error} * error;
        squared += double{values[i]} * values[i];
        worst = std::max(worst, error);
        if (format == KvFormat::kFp8) {
          ASSERT_LE(error, std::max(std::abs(values[i]) / 16, std::exp2(-10.0f)));
        }
      }
    }
    const double relative = std::sqrt(squared_error / squared);
    std::printf("%s: root mean square error %.4f of the values', greatest error %.4f\n",
                std::string(NameOf(format)).c_str(), relative, worst);
    EXPECT_LE(relative, format == KvFormat::kFp8  ? 0.028
                        : format == KvFormat::kQ8 ? 0.007
                                                  : 0.0018);
  }
}

// Given names, expect the formats; given another, an error that names the flag.
TEST(KvFormatTest, NamesAreThoseOfTheFlag) {
  for (const KvFormat format : kAll) EXPECT_EQ(*KvFormatFromName(NameOf(format)), format);
  EXPECT_THAT(KvFormatFromName("fp4").status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--kv_format=fp4")));
}

}  // namespace
}  // namespace facet
