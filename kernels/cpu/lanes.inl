// Sixteen floats: one AVX-512 register, or two of AVX2. Included by vector_kernels.inl alone.

#include <immintrin.h>
#include <stdint.h>

namespace {

constexpr int64_t kLanes = 16;

#ifdef __AVX512F__

struct Lanes {
  __m512 v;
};

inline Lanes Load(const float* p) { return {_mm512_loadu_ps(p)}; }
inline void Store(float* p, Lanes a) { _mm512_storeu_ps(p, a.v); }
inline Lanes Broadcast(float x) { return {_mm512_set1_ps(x)}; }
inline Lanes Add(Lanes a, Lanes b) { return {_mm512_add_ps(a.v, b.v)}; }
inline Lanes Sub(Lanes a, Lanes b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline Lanes Mul(Lanes a, Lanes b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline Lanes Div(Lanes a, Lanes b) { return {_mm512_div_ps(a.v, b.v)}; }
inline Lanes Min(Lanes a, Lanes b) { return {_mm512_min_ps(a.v, b.v)}; }
inline Lanes Max(Lanes a, Lanes b) { return {_mm512_max_ps(a.v, b.v)}; }
// a * b + c, rounded once.
inline Lanes Fma(Lanes a, Lanes b, Lanes c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline Lanes Round(Lanes a) {
  return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
// 2^n for whole n in [-126, 127].
inline Lanes PowerOfTwo(Lanes n) {
  const __m512i bits = _mm512_add_epi32(_mm512_cvtps_epi32(n.v), _mm512_set1_epi32(127));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(bits, 23))};
}
// Sixteen codes of stored keys and values (kernels/kv_format.h), unscaled.
inline Lanes LoadBf16(const uint8_t* p) {
  const __m256i codes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(codes), 16))};
}
inline Lanes LoadInt8(const uint8_t* p) {
  const __m128i codes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(codes))};
}
inline Lanes FromHalves(__m256i halves) { return {_mm512_cvtph_ps(halves)}; }

inline __m256 LowHalf(Lanes a) { return _mm512_castps512_ps256(a.v); }
inline __m256 HighHalf(Lanes a) {
  return _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(a.v), 1));
}

#else

struct Lanes {
  __m256 low, high;
};

inline Lanes Load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
inline void Store(float* p, Lanes a) {
  _mm256_storeu_ps(p, a.low);
  _mm256_storeu_ps(p + 8, a.high);
}
inline Lanes Broadcast(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
inline Lanes Add(Lanes a, Lanes b) {
  return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)};
}
inline Lanes Sub(Lanes a, Lanes b) {
  return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)};
}
inline Lanes Mul(Lanes a, Lanes b) {
  return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)};
}
inline Lanes Div(Lanes a, Lanes b) {
  return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)};
}
inline Lanes Min(Lanes a, Lanes b) {
  return {_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)};
}
inline Lanes Max(Lanes a, Lanes b) {
  return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)};
}
// a * b + c, rounded once.
inline Lanes Fma(Lanes a, Lanes b, Lanes c) {
  return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
inline Lanes Round(Lanes a) {
  constexpr int kMode = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  return {_mm256_round_ps(a.low, kMode), _mm256_round_ps(a.high, kMode)};
}
inline __m256 PowerOfTwoHalf(__m256 n) {
  const __m256i bits = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
  return _mm256_castsi256_ps(_mm256_slli_epi32(bits, 23));
}
// 2^n for whole n in [-126, 127].
inline Lanes PowerOfTwo(Lanes n) { return {PowerOfTwoHalf(n.low), PowerOfTwoHalf(n.high)}; }
// Sixteen codes of stored keys and values (kernels/kv_format.h), unscaled.
inline __m256 Bf16Half(const uint8_t* p) {
  const __m128i codes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(codes), 16));
}
inline Lanes LoadBf16(const uint8_t* p) { return {Bf16Half(p), Bf16Half(p + 16)}; }
inline Lanes LoadInt8(const uint8_t* p) {
  const __m128i codes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(codes)),
          _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(codes, 8)))};
}
inline Lanes FromHalves(__m256i halves) {
  return {_mm256_cvtph_ps(_mm256_castsi256_si128(halves)),
          _mm256_cvtph_ps(_mm256_extracti128_si256(halves, 1))};
}

inline __m256 LowHalf(Lanes a) { return a.low; }
inline __m256 HighHalf(Lanes a) { return a.high; }

#endif

// Sixteen e4m3. With its exponent put into a half's (bias 7 into bias 15), a code reads as 2^-8 of
// its value, subnormal or not; only NaN, 0x7f, has no such place.
inline Lanes LoadE4m3(const uint8_t* p) {
  const __m128i codes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  const __m256i wide = _mm256_cvtepu8_epi16(codes);
  const __m256i magnitude = _mm256_and_si256(wide, _mm256_set1_epi16(0x7F));
  const __m256i sign = _mm256_slli_epi16(_mm256_xor_si256(wide, magnitude), 8);
  const __m256i is_nan = _mm256_cmpeq_epi16(magnitude, _mm256_set1_epi16(0x7F));
  const __m256i nan = _mm256_and_si256(is_nan, _mm256_set1_epi16(0x7E00));
  const __m256i finite = _mm256_slli_epi16(magnitude, 7);
  return Mul(FromHalves(_mm256_or_si256(sign, _mm256_or_si256(finite, nan))), Broadcast(256.0f));
}

// The fixed tree: lanes l and l + 8, then l and l + 4, l + 2, l + 1.
inline float Sum(Lanes a) {
  const __m256 eight = _mm256_add_ps(LowHalf(a), HighHalf(a));
  __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  four = _mm_add_ps(four, _mm_movehl_ps(four, four));
  four = _mm_add_ss(four, _mm_shuffle_ps(four, four, 1));
  return _mm_cvtss_f32(four);
}

inline float Largest(Lanes a) {
  const __m256 eight = _mm256_max_ps(LowHalf(a), HighHalf(a));
  __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  four = _mm_max_ps(four, _mm_movehl_ps(four, four));
  four = _mm_max_ss(four, _mm_shuffle_ps(four, four, 1));
  return _mm_cvtss_f32(four);
}

// e^x to about 2 units in the last place for x in [-87, 88], clamped outside. Cody and Waite's
// reduction by ln 2 and the degree-6 polynomial of Cephes' expf (Moshier).
inline Lanes Exp(Lanes x) {
  x = Max(Min(x, Broadcast(88.0f)), Broadcast(-87.0f));
  const Lanes n = Round(Mul(x, Broadcast(1.44269504088896341f)));
  Lanes r = Fma(n, Broadcast(-0.693359375f), x);
  r = Fma(n, Broadcast(2.12194440e-4f), r);
  Lanes p = Broadcast(1.9875691500e-4f);
  p = Fma(p, r, Broadcast(1.3981999507e-3f));
  p = Fma(p, r, Broadcast(8.3334519073e-3f));
  p = Fma(p, r, Broadcast(4.1665795894e-2f));
  p = Fma(p, r, Broadcast(1.6666665459e-1f));
  p = Fma(p, r, Broadcast(5.0000001201e-1f));
  p = Fma(p, Mul(r, r), Add(r, Broadcast(1.0f)));
  return Mul(p, PowerOfTwo(n));
}

// tanh(x) = 1 - 2 / (e^(2x) + 1). Near zero the subtraction costs relative, not absolute, accuracy:
// the error stays below 1.2e-7.
inline Lanes Tanh(Lanes x) {
  x = Max(Min(x, Broadcast(10.0f)), Broadcast(-10.0f));
  const Lanes one = Broadcast(1.0f);
  return Sub(one, Div(Broadcast(2.0f), Add(Exp(Add(x, x)), one)));
}

}  // namespace
