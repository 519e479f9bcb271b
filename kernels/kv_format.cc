#include "kernels/kv_format.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace facet {
namespace {

constexpr KvFormat kFormats[kKvFormats] = {KvFormat::kF32, KvFormat::kBf16, KvFormat::kFp8,
                                           KvFormat::kQ8};

// Adding and taking away 1.5 x 2^23 leaves a float of magnitude below 2^22 rounded to a whole
// number, ties to even.
constexpr float kWhole = 12582912.0f;

uint32_t Bits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

float FromBits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

// The top half of a float; NaN must not round up to infinity.
uint16_t EncodeBf16(float value) {
  const uint32_t bits = Bits(value);
  const bool is_nan = (bits & 0x7FFFFFFF) > 0x7F800000;
  return static_cast<uint16_t>(is_nan ? (bits >> 16) | 0x40
                                      : (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

// e4m3: sign, 4 bits of exponent with bias 7, 3 of mantissa; 0x7f is NaN.
uint8_t EncodeE4m3(float value) {
  const uint32_t bits = Bits(value);
  const uint32_t sign = (bits >> 24) & 0x80;
  const uint32_t magnitude_bits = bits & 0x7FFFFFFF;
  if (magnitude_bits > 0x7F800000) return static_cast<uint8_t>(sign | 0x7F);
  const float magnitude = std::min(FromBits(magnitude_bits), 448.0f);
  // Below 2^-6 codes are steps of 2^-9; above, the mantissa is cut to 3 bits and the bias changed.
  const uint32_t small = Bits(magnitude * 512.0f + kWhole) - Bits(kWhole);
  const uint32_t kept = Bits(magnitude);
  const uint32_t large = ((kept + 0x7FFFF + ((kept >> 20) & 1)) >> 20) - ((127 - 7) << 3);
  return static_cast<uint8_t>(sign | (magnitude < 0.015625f ? small : large));
}

float DecodeE4m3(uint8_t code) {
  const int exponent = (code >> 3) & 15, mantissa = code & 7;
  float magnitude = std::ldexp(static_cast<float>(mantissa + 8), exponent - 10);
  if (exponent == 0) magnitude = std::ldexp(static_cast<float>(mantissa), -9);
  if ((code & 0x7F) == 0x7F) magnitude = std::numeric_limits<float>::quiet_NaN();
  return (code & 0x80) != 0 ? -magnitude : magnitude;
}

// At most 32 neighbours and their step.
void EncodeStep(const float* values, int64_t count, int8_t* codes, _Float16* step) {
  float largest = 0;
  bool has_nan = false;
  for (int64_t i = 0; i < count; ++i) {
    largest = std::max(largest, std::abs(values[i]));
    has_nan |= values[i] != values[i];
  }
  if (has_nan) largest = std::numeric_limits<float>::quiet_NaN();
  *step = static_cast<_Float16>(largest / 127.0f);
  const auto read_back = static_cast<float>(*step);
  const bool codable = read_back > 0 && read_back <= 65504.0f;
  for (int64_t i = 0; i < count; ++i) {
    // The step was rounded, so the largest may come to a little over 127.
    const float whole = codable ? (values[i] / read_back + kWhole) - kWhole : 0.0f;
    codes[i] = static_cast<int8_t>(std::clamp(whole, -127.0f, 127.0f));
  }
}

}  // namespace

absl::StatusOr<KvFormat> KvFormatFromName(absl::string_view name) {
  for (const KvFormat format : kFormats) {
    if (NameOf(format) == name) return format;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("--kv_format=", name, " is not known: f32, bf16, fp8 or q8"));
}

absl::string_view NameOf(KvFormat format) {
  constexpr absl::string_view kNames[kKvFormats] = {"f32", "bf16", "fp8", "q8"};
  return kNames[static_cast<int>(format)];
}

int64_t KvBytes(KvFormat format, int64_t count) {
  switch (format) {
    case KvFormat::kF32:
      return 4 * count;
    case KvFormat::kBf16:
      return 2 * count;
    case KvFormat::kFp8:
      return count;
    case KvFormat::kQ8:
      return count + 2 * ((count + kKvStepValues - 1) / kKvStepValues);
  }
  return 0;
}

void EncodeKv(KvFormat format, const float* values, int64_t count, uint8_t* codes) {
  switch (format) {
    case KvFormat::kF32:
      std::memcpy(codes, values, count * sizeof(float));
      return;
    case KvFormat::kBf16:
      for (int64_t i = 0; i < count; ++i) {
        const uint16_t code = EncodeBf16(values[i]);
        std::memcpy(codes + 2 * i, &code, sizeof(code));
      }
      return;
    case KvFormat::kFp8:
      for (int64_t i = 0; i < count; ++i) codes[i] = EncodeE4m3(values[i]);
      return;
    case KvFormat::kQ8:
      for (int64_t i = 0; i < count; i += kKvStepValues) {
        const int64_t size = std::min<int64_t>(kKvStepValues, count - i);
        _Float16 step;
        EncodeStep(values + i, size, reinterpret_cast<int8_t*>(codes) + i, &step);
        std::memcpy(codes + count + i / kKvStepValues * 2, &step, sizeof(step));
      }
      return;
  }
}

void DecodeKv(KvFormat format, const uint8_t* codes, int64_t count, float* values) {
  switch (format) {
    case KvFormat::kF32:
      std::memcpy(values, codes, count * sizeof(float));
      return;
    case KvFormat::kBf16:
      for (int64_t i = 0; i < count; ++i) {
        uint16_t code;
        std::memcpy(&code, codes + 2 * i, sizeof(code));
        values[i] = FromBits(uint32_t{code} << 16);
      }
      return;
    case KvFormat::kFp8:
      for (int64_t i = 0; i < count; ++i) values[i] = DecodeE4m3(codes[i]);
      return;
    case KvFormat::kQ8:
      for (int64_t i = 0; i < count; ++i) {
        _Float16 step;
        std::memcpy(&step, codes + count + i / kKvStepValues * 2, sizeof(step));
        values[i] = static_cast<float>(step) * static_cast<float>(static_cast<int8_t>(codes[i]));
      }
      return;
  }
}

}  // namespace facet
