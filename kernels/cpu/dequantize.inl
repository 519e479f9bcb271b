// Decodes GGUF's block formats. One source, compiled for each instruction set; the compiler
// vectorises the inner loops. No sum here is fused, so all give the same bits as llama.cpp's
// reference decoders (ggml-quants.c, dequantize_row_*), which the layouts are from.
// Includes nothing with inline C++ functions: see vector_kernels.h.

#include <stdint.h>
#include <string.h>

namespace {

inline float ReadHalf(const uint8_t* p) {
  _Float16 half;
  memcpy(&half, p, sizeof(half));
  return static_cast<float>(half);
}

inline uint32_t ReadU32(const uint8_t* p) {
  uint32_t value;
  memcpy(&value, p, sizeof(value));
  return value;
}

void DequantizeF32(const uint8_t* in, int64_t elements, float* out) {
  memcpy(out, in, elements * sizeof(float));
}

void DequantizeF16(const uint8_t* in, int64_t elements, float* out) {
  for (int64_t i = 0; i < elements; ++i) out[i] = ReadHalf(in + 2 * i);
}

void DequantizeBF16(const uint8_t* in, int64_t elements, float* out) {
  for (int64_t i = 0; i < elements; ++i) {
    uint16_t high;
    memcpy(&high, in + 2 * i, sizeof(high));
    const uint32_t bits = static_cast<uint32_t>(high) << 16;
    memcpy(out + i, &bits, sizeof(bits));
  }
}

// half d; u8 q[16]
void DequantizeQ4_0(const uint8_t* in, int64_t elements, float* out) {
  for (int64_t block = 0; block < elements / 32; ++block, in += 18, out += 32) {
    const float d = ReadHalf(in);
    const uint8_t* q = in + 2;
    for (int j = 0; j < 16; ++j) {
      out[j] = d * static_cast<float>((q[j] & 15) - 8);
      out[j + 16] = d * static_cast<float>((q[j] >> 4) - 8);
    }
  }
}

// half d; half m; u8 q[16]
void DequantizeQ4_1(const uint8_t* in, int64_t elements, float* out) {
  for (int64_t block = 0; block < elements / 32; ++block, in += 20, out += 32) {
    const float d = ReadHalf(in), m = ReadHalf(in + 2);
    const uint8_t* q = in + 4;
    for (int j = 0; j < 16; ++j) {
      out[j] = d * static_cast<float>(q[j] & 15) + m;
      out[j + 16] = d * static_cast<float>(q[j] >> 4) + m;
    }
  }
}

// half d; u32 high bits; u8 q[16]
void DequantizeQ5_0(const uint8_t* in, int64_t elements, float* out) {
  for (int64_t block = 0; block < elements / 32; ++block, in += 22, out += 32) {
    const float d = ReadHalf(in);
    const uint32_t high = ReadU32(in + 2);
    const uint8_t* q = in + 6;
    for (int j = 0; j < 16; ++j) {
      const int low_high = static_cast<int>((high >> j) & 1) << 4;
      const int high_high = static_cast<int>((high >> (j + 16)) & 1) << 4;
      out[j] = d * static_cast<float>(((q[j] & 15) | low_high) - 16);
      out[j + 16] = d * static_cast<float>(((q[j] >> 4) | high_high) - 16);
    }
  }
}

// half d; half m; u32 high bits; u8 q[16]
void DequantizeQ5_1(const uint8_t* in, int64_t elements, float* out) {
  for (int64_t block = 0; block < elements / 32; ++block, in += 24, out += 32) {
    const float d = ReadHalf(in), m = ReadHalf(in + 2);
    const uint32_t high = ReadU32(in + 4);
    const uint8_t* q = in + 8;
    for (int j = 0; j < 16; ++j) {
      const int low_high = static_cast<int>((high >> j) & 1) << 4;
      const int high_high = static_cast<int>((high >> (j + 16)) & 1) << 4;
      out[j] = d * static_cast<float>((q[j] & 15) | low_high) + m;
      out[j + 16] = d * static_cast<float>((q[j] >> 4) | high_high) + m;
    }
  }
}

// half d; i8 q[32]
void DequantizeQ8_0(const uint8_t* in, int64_t elements, float* out) {
  for (int64_t block = 0; block < elements / 32; ++block, in += 34, out += 32) {
    const float d = ReadHalf(in);
    const uint8_t* q = in + 2;
    for (int j = 0; j < 32; ++j) out[j] = d * static_cast<float>(static_cast<int8_t>(q[j]));
  }
}

// u8 scales[16] (4 bits scale, 4 bits minimum); u8 q[64]; half d; half dmin
void DequantizeQ2_K(const uint8_t* in, int64_t elements, float* out) {
  for (int64_t block = 0; block < elements / 256; ++block, in += 84) {
    const uint8_t* scales = in;
    const float d = ReadHalf(in + 80), dmin = ReadHalf(in + 82);
    for (int half = 0; half < 2; ++half) {
      const uint8_t* q = in + 16 + 32 * half;
      for (int group = 0; group < 8; ++group, out += 16) {
        const uint8_t scale = scales[8 * half + group];
        const float step = d * static_cast<float>(scale & 15);
        const float minimum = dmin * static_cast<float>(scale >> 4);
        const int shift = 2 * (group / 2);
        const uint8_t* codes = q + 16 * (group % 2);
        for (int l = 0; l < 16; ++l) {
          out[l] = step * static_cast<float>((codes[l] >> shift) & 3) - minimum;
        }
      }
    }
  }
}

// u8 high[32]; u8 q[64]; u8 scales[12] (16 of 6 bits); half d
void DequantizeQ3_K(const uint8_t* in, int64_t elements, float* out) {
  for (int64_t block = 0; block < elements / 256; ++block, in += 110) {
    const uint8_t* high = in;
    const uint8_t* packed = in + 96;
    const float d = ReadHalf(in + 108);
    for (int group = 0; group < 16; ++group, out += 16) {
      const int low = group < 8 ? packed[group] & 15 : packed[group - 8] >> 4;
      const int top = (packed[8 + group % 4] >> (2 * (group / 4))) & 3;
      const float step = d * static_cast<float>((low | top << 4) - 32);
      const uint8_t* codes = in + 32 + 32 * (group / 8) + 16 * (group % 2);
      const uint8_t* high_codes = high + 16 * (group % 2);
      const int shift = 2 * (group % 8 / 2);
      const int bit = group / 2;
      for (int l = 0; l < 16; ++l) {
        const int code = ((codes[l] >> shift) & 3) + (((high_codes[l] >> bit) & 1) << 2);
        out[l] = step * static_cast<float>(code - 4);
      }
    }
  }
}

// The six-bit scale and minimum of sub-block s of Q4_K and Q5_K.
inline void UnpackScale(const uint8_t* packed, int s, int* scale, int* minimum) {
  if (s < 4) {
    *scale = packed[s] & 63;
    *minimum = packed[s + 4] & 63;
  } else {
    *scale = (packed[s + 4] & 15) | ((packed[s - 4] >> 6) << 4);
    *minimum = (packed[s + 4] >> 4) | ((packed[s] >> 6) << 4);
  }
}

// half d; half dmin; u8 scales[12]; u8 q[128]
void DequantizeQ4_K(const uint8_t* in, int64_t elements, float* out) {
  for (int64_t block = 0; block < elements / 256; ++block, in += 144) {
    const float d = ReadHalf(in), dmin = ReadHalf(in + 2);
    for (int group = 0; group < 4; ++group, out += 64) {
      const uint8_t* q = in + 16 + 32 * group;
      int scale, minimum;
      UnpackScale(in + 4, 2 * group, &scale, &minimum);
      const float step0 = d * static_cast<float>(scale), min0 = dmin * static_cast<float>(minimum);
      UnpackScale(in + 4, 2 * group + 1, &scale, &minimum);
      const float step1 = d * static_cast<float>(scale), min1 = dmin * static_cast<float>(minimum);
      for (int l = 0; l < 32; ++l) out[l] = step0 * static_cast<float>(q[l] & 15) - min0;
      for (int l = 0; l < 32; ++l) out[l + 32] = step1 * static_cast<float>(q[l] >> 4) - min1;
    }
  }
}

// half d; half dmin; u8 scales[12]; u8 high[32]; u8 q[128]
void DequantizeQ5_K(const uint8_t* in, int64_t elements, float* out) {
  for (int64_t block = 0; block < elements / 256; ++block, in += 176) {
    const float d = ReadHalf(in), dmin = ReadHalf(in + 2);
    const uint8_t* high = in + 16;
    for (int group = 0; group < 4; ++group, out += 64) {
      const uint8_t* q = in + 48 + 32 * group;
      int scale, minimum;
      UnpackScale(in + 4, 2 * group, &scale, &minimum);
      const float step0 = d * static_cast<float>(scale), min0 = dmin * static_cast<float>(minimum);
      UnpackScale(in + 4, 2 * group + 1, &scale, &minimum);
      const float step1 = d * static_cast<float>(scale), min1 = dmin * static_cast<float>(minimum);
      for (int l = 0; l < 32; ++l) {
        const int code = (q[l] & 15) | (((high[l] >> (2 * group)) & 1) << 4);
        out[l] = step0 * static_cast<float>(code) - min0;
      }
      for (int l = 0; l < 32; ++l) {
        const int code = (q[l] >> 4) | (((high[l] >> (2 * group + 1)) & 1) << 4);
        out[l + 32] = step1 * static_cast<float>(code) - min1;
      }
    }
  }
}

// u8 low[128]; u8 high[64]; i8 scales[16]; half d
void DequantizeQ6_K(const uint8_t* in, int64_t elements, float* out) {
  for (int64_t block = 0; block < elements / 256; ++block, in += 210) {
    const float d = ReadHalf(in + 208);
    for (int half = 0; half < 2; ++half, out += 128) {
      const uint8_t* low = in + 64 * half;
      const uint8_t* high = in + 128 + 32 * half;
      const int8_t* scales = reinterpret_cast<const int8_t*>(in + 192 + 8 * half);
      for (int part = 0; part < 4; ++part) {
        const uint8_t* nibbles = low + 32 * (part % 2);
        const int nibble_shift = 4 * (part / 2);
        const int high_shift = 2 * part;
        for (int sub = 0; sub < 2; ++sub) {
          const float step = d * static_cast<float>(scales[2 * part + sub]);
          float* target = out + 32 * part + 16 * sub;
          for (int l = 0; l < 16; ++l) {
            const int code = ((nibbles[16 * sub + l] >> nibble_shift) & 15) |
                             (((high[16 * sub + l] >> high_shift) & 3) << 4);
            target[l] = step * static_cast<float>(code - 32);
          }
        }
      }
    }
  }
}

// The sixteen levels of the IQ4 formats.
constexpr int8_t kIq4Levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                   1,    13,   25,  38,  53,  69,  89,  113};

inline void DecodeIq4(const uint8_t* q, float step, float* out) {
  for (int j = 0; j < 16; ++j) {
    out[j] = step * static_cast<float>(kIq4Levels[q[j] & 15]);
    out[j + 16] = step * static_cast<float>(kIq4Levels[q[j] >> 4]);
  }
}

// half d; u8 q[16]
void DequantizeIQ4_NL(const uint8_t* in, int64_t elements, float* out) {
  for (int64_t block = 0; block < elements / 32; ++block, in += 18, out += 32) {
    DecodeIq4(in + 2, ReadHalf(in), out);
  }
}

// half d; u16 high scale bits; u8 low scale bits[4]; u8 q[128]
void DequantizeIQ4_XS(const uint8_t* in, int64_t elements, float* out) {
  for (int64_t block = 0; block < elements / 256; ++block, in += 136) {
    const float d = ReadHalf(in);
    const int high = in[2] | in[3] << 8;
    for (int group = 0; group < 8; ++group, out += 32) {
      const int low = (in[4 + group / 2] >> (4 * (group % 2))) & 15;
      const int scale = low | (((high >> (2 * group)) & 3) << 4);
      DecodeIq4(in + 8 + 16 * group, d * static_cast<float>(scale - 32), out);
    }
  }
}

}  // namespace
