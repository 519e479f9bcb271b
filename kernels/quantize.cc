#include "kernels/quantize.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace facet {
namespace {

constexpr int kSuperBlock = 256;

uint16_t HalfBits(float value) {
  const auto half = static_cast<_Float16>(value);
  uint16_t bits;
  std::memcpy(&bits, &half, sizeof(bits));
  return bits;
}

// The value that a decoder will read back.
float RoundToHalf(float value) { return static_cast<float>(static_cast<_Float16>(value)); }

void AppendHalf(std::string& out, float value) {
  const uint16_t bits = HalfBits(value);
  out.append(reinterpret_cast<const char*>(&bits), sizeof(bits));
}

// The whole number nearest to `value`, within [low, high]. Floats of this size have no bits behind
// the point, so the addition rounds; unlike lround it can be done for several values at a time.
float RoundWithin(float value, float low, float high) {
  constexpr float kShift = 12582912.0f;  // 1.5 * 2^23
  return (std::clamp(value, low, high) + kShift) - kShift;
}

int CodeOf(float value, int low, int high) {
  return static_cast<int>(RoundWithin(value, static_cast<float>(low), static_cast<float>(high)));
}

// The sum of term(i) for i in [0, count), count a multiple of 8, in eight partial sums, which the
// compiler may add at the same time.
template <typename Term>
float Sum(int count, const Term& term) {
  float sums[8] = {};
  for (int i = 0; i < count; i += 8) {
    for (int lane = 0; lane < 8; ++lane) sums[lane] += term(i + lane);
  }
  float sum = 0;
  for (const float lane_sum : sums) sum += lane_sum;
  return sum;
}

void AppendF32(const float* x, std::string& out) {
  out.append(reinterpret_cast<const char*>(x), sizeof(float));
}

void AppendF16(const float* x, std::string& out) { AppendHalf(out, *x); }

// To nearest, ties to even.
void AppendBF16(const float* x, std::string& out) {
  uint32_t bits;
  std::memcpy(&bits, x, sizeof(bits));
  const auto high = static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
  out.append(reinterpret_cast<const char*>(&high), sizeof(high));
}

void AppendQ8_0(const float* x, std::string& out) {
  float largest = 0;
  for (int i = 0; i < 32; ++i) largest = std::max(largest, std::abs(x[i]));
  const float d = RoundToHalf(largest / 127.0f);
  AppendHalf(out, d);
  for (int i = 0; i < 32; ++i) {
    const int code = d == 0 ? 0 : CodeOf(x[i] / d, -127, 127);
    out.push_back(static_cast<char>(static_cast<int8_t>(code)));
  }
}

// The value of largest magnitude gets code 0 of [-8, 7], so its sign decides that of the step.
void AppendQ4_0(const float* x, std::string& out) {
  float largest = 0;
  for (int i = 0; i < 32; ++i) {
    if (std::abs(x[i]) > std::abs(largest)) largest = x[i];
  }
  const float d = RoundToHalf(largest / -8.0f);
  AppendHalf(out, d);
  const auto code = [&](float value) { return d == 0 ? 8 : CodeOf(value / d, -8, 7) + 8; };
  for (int i = 0; i < 16; ++i) {
    out.push_back(static_cast<char>(code(x[i]) | code(x[i + 16]) << 4));
  }
}

// A scale and a minimum so that x is near scale * code - minimum, code in [0, code_max].
struct Affine {
  float scale;
  float minimum;  // >= 0
};

// The code of a value under `fit`, as a float.
struct Coder {
  Coder(const Affine& fit, int code_max)
      : inverse(fit.scale == 0 ? 0 : 1 / fit.scale),
        minimum(fit.minimum),
        most(static_cast<float>(code_max)) {}
  float operator()(float x) const { return RoundWithin((x + minimum) * inverse, 0, most); }

  float inverse, minimum, most;
};

float SquaredError(const float* x, int count, int code_max, const Affine& fit) {
  const Coder code(fit, code_max);
  return Sum(count, [&](int i) {
    const float difference = x[i] - (fit.scale * code(x[i]) - fit.minimum);
    return difference * difference;
  });
}

// Least squares for the codes that a first fit gives, as llama.cpp's make_qkx2_quants refines it.
Affine Refit(const float* x, int count, int code_max, const Affine& first) {
  const Coder code(first, code_max);
  const auto n = static_cast<float>(count);
  const float sum_code = Sum(count, [&](int i) { return code(x[i]); });
  const float sum_code2 = Sum(count, [&](int i) { return code(x[i]) * code(x[i]); });
  const float sum_x = Sum(count, [&](int i) { return x[i]; });
  const float sum_xcode = Sum(count, [&](int i) { return x[i] * code(x[i]); });
  const float determinant = n * sum_code2 - sum_code * sum_code;
  if (determinant <= 0) return first;
  Affine fit = {(n * sum_xcode - sum_code * sum_x) / determinant,
                (sum_code * sum_xcode - sum_code2 * sum_x) / determinant};
  if (fit.minimum < 0) {
    fit.minimum = 0;
    fit.scale = sum_code2 > 0 ? sum_xcode / sum_code2 : first.scale;
  }
  return fit.scale > 0 ? fit : first;
}

Affine FitAffine(const float* x, int count, int code_max) {
  float low = 0, high = 0;
  for (int i = 0; i < count; ++i) {
    low = std::min(low, x[i]);
    high = std::max(high, x[i]);
  }
  if (high == low) return {0, -low};
  const auto steps = static_cast<float>(code_max);
  Affine best = {(high - low) / steps, -low};
  float best_error = SquaredError(x, count, code_max, best);
  // Ranges a little narrower or wider than the extremes often fit the many better than the few.
  for (int step = -6; step <= 2; ++step) {
    const Affine start = {(high - low) / (steps - 0.25f * static_cast<float>(step)), -low};
    const Affine fit = Refit(x, count, code_max, start);
    const float error = SquaredError(x, count, code_max, fit);
    if (error < best_error) {
      best = fit;
      best_error = error;
    }
  }
  return best;
}

// What Q4_K and Q5_K share: half d; half dmin; 8 scales and minimums of 6 bits in 12 bytes, the
// inverse of dequantize.inl's UnpackScale. `codes` gets one for each value, in [0, code_max].
void AppendScales(const float* x, int code_max, std::string& out, int* codes) {
  Affine fits[8];
  float scale_max = 0, minimum_max = 0;
  for (int64_t s = 0; s < 8; ++s) {
    fits[s] = FitAffine(x + 32 * s, 32, code_max);
    scale_max = std::max(scale_max, fits[s].scale);
    minimum_max = std::max(minimum_max, fits[s].minimum);
  }
  const float d = RoundToHalf(scale_max / 63.0f), dmin = RoundToHalf(minimum_max / 63.0f);
  uint8_t packed[12] = {};
  for (int s = 0; s < 8; ++s) {
    const int scale_code = d == 0 ? 0 : CodeOf(fits[s].scale / d, 0, 63);
    const int minimum_code = dmin == 0 ? 0 : CodeOf(fits[s].minimum / dmin, 0, 63);
    if (s < 4) {
      packed[s] |= scale_code;
      packed[s + 4] |= minimum_code;
    } else {
      packed[s + 4] |= (scale_code & 15) | (minimum_code & 15) << 4;
      packed[s - 4] |= (scale_code >> 4) << 6;
      packed[s] |= (minimum_code >> 4) << 6;
    }
    const float scale = d * static_cast<float>(scale_code);
    const float minimum = dmin * static_cast<float>(minimum_code);
    for (int i = 32 * s; i < 32 * s + 32; ++i) {
      codes[i] = scale == 0 ? 0 : CodeOf((x[i] + minimum) / scale, 0, code_max);
    }
  }
  AppendHalf(out, d);
  AppendHalf(out, dmin);
  out.append(reinterpret_cast<const char*>(packed), sizeof(packed));
}

// Two codes' low four bits in a byte: 32 values and the 32 behind them.
void AppendLowBits(const int* codes, std::string& out) {
  for (int group = 0; group < 4; ++group) {
    for (int i = 64 * group; i < 64 * group + 32; ++i) {
      out.push_back(static_cast<char>((codes[i] & 15) | (codes[i + 32] & 15) << 4));
    }
  }
}

// The scales; 128 bytes of codes.
void AppendQ4_K(const float* x, std::string& out) {
  int codes[kSuperBlock];
  AppendScales(x, /*code_max=*/15, out, codes);
  AppendLowBits(codes, out);
}

// The scales; 32 bytes of fifth bits, bit s of byte l for value l of sub-block s; 128 bytes.
void AppendQ5_K(const float* x, std::string& out) {
  int codes[kSuperBlock];
  AppendScales(x, /*code_max=*/31, out, codes);
  for (int l = 0; l < 32; ++l) {
    int high = 0;
    for (int s = 0; s < 8; ++s) high |= (codes[32 * s + l] >> 4) << s;
    out.push_back(static_cast<char>(high));
  }
  AppendLowBits(codes, out);
}

// A scale so that x is near scale * code, code in [-32, 31]; least squares over a few starts.
float FitSigned6(const float* x, int count) {
  float largest = 0;
  for (int i = 0; i < count; ++i) {
    if (std::abs(x[i]) > std::abs(largest)) largest = x[i];
  }
  if (largest == 0) return 0;
  float best = 0, best_gain = -1;
  for (int step = -9; step <= 9; ++step) {
    const float inverse = -(32.0f + 0.1f * static_cast<float>(step)) / largest;
    const auto code = [&](int i) { return RoundWithin(inverse * x[i], -32, 31); };
    const float sum_xcode = Sum(count, [&](int i) { return x[i] * code(i); });
    const float sum_code2 = Sum(count, [&](int i) { return code(i) * code(i); });
    if (sum_code2 > 0 && sum_xcode * sum_xcode / sum_code2 > best_gain) {
      best_gain = sum_xcode * sum_xcode / sum_code2;
      best = sum_xcode / sum_code2;
    }
  }
  return best;
}

// u8 low[128]; u8 high[64]; i8 scales[16]; half d
void AppendQ6_K(const float* x, std::string& out) {
  float fits[16], largest = 0;
  for (int64_t s = 0; s < 16; ++s) {
    fits[s] = FitSigned6(x + 16 * s, 16);
    if (std::abs(fits[s]) > std::abs(largest)) largest = fits[s];
  }
  const float d = RoundToHalf(largest / -128.0f);
  int8_t scales[16];
  for (int s = 0; s < 16; ++s) {
    scales[s] = static_cast<int8_t>(d == 0 ? 0 : CodeOf(fits[s] / d, -128, 127));
  }
  uint8_t low[128] = {}, high[64] = {};
  for (int i = 0; i < kSuperBlock; ++i) {
    const int block = i / 16;
    const float scale = d * static_cast<float>(scales[block]);
    const int code = scale == 0 ? 32 : CodeOf(x[i] / scale, -32, 31) + 32;
    const int half = i / 128, part = i % 128 / 32, l = i % 32;
    low[64 * half + 32 * (part % 2) + l] |= (code & 15) << (4 * (part / 2));
    high[32 * half + l] |= (code >> 4) << (2 * part);
  }
  out.append(reinterpret_cast<const char*>(low), sizeof(low));
  out.append(reinterpret_cast<const char*>(high), sizeof(high));
  out.append(reinterpret_cast<const char*>(scales), sizeof(scales));
  AppendHalf(out, d);
}

using AppendBlock = void (*)(const float* x, std::string& out);

AppendBlock BlockWriter(TensorType type) {
  switch (type) {
    case TensorType::kF32:
      return AppendF32;
    case TensorType::kF16:
      return AppendF16;
    case TensorType::kBF16:
      return AppendBF16;
    case TensorType::kQ8_0:
      return AppendQ8_0;
    case TensorType::kQ4_0:
      return AppendQ4_0;
    case TensorType::kQ4_K:
      return AppendQ4_K;
    case TensorType::kQ5_K:
      return AppendQ5_K;
    case TensorType::kQ6_K:
      return AppendQ6_K;
    default:
      return nullptr;
  }
}

}  // namespace

bool CanQuantize(TensorType type) { return BlockWriter(type) != nullptr; }

absl::StatusOr<std::string> Quantize(TensorType type, absl::Span<const float> values) {
  const TensorTypeInfo& info = InfoOf(type);
  const AppendBlock append = BlockWriter(type);
  if (append == nullptr) {
    return absl::UnimplementedError(absl::StrCat("cannot write ", info.name, " blocks"));
  }
  if (values.size() % info.block_elements != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(values.size(), " values are no whole blocks of ", info.name));
  }
  for (size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i])) {
      return absl::InvalidArgumentError(absl::StrCat("value ", i, " is not finite"));
    }
  }
  std::string out;
  out.reserve(values.size() / info.block_elements * info.block_bytes);
  for (size_t i = 0; i < values.size(); i += info.block_elements) append(&values[i], out);
  return out;
}

}  // namespace facet
