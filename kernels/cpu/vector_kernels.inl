// The body of vector_kernels_avx2.cc and vector_kernels_avx512.cc; see vector_kernels.h.

#include "kernels/cpu/dequantize.inl"
#include "kernels/cpu/lanes.inl"
#include "kernels/cpu/vector_kernels.h"

namespace {

// kXRows x kWRows sums at once, each in a register of its own, added onto `sums`.
template <int kXRows, int kWRows>
inline void DotBlock(const float* x, int64_t x_stride, const float* w, int64_t w_stride,
                     int64_t size, Lanes sums[kXRows][kWRows]) {
  for (int64_t k = 0; k < size; k += kLanes) {
    Lanes weights[kWRows];
    for (int j = 0; j < kWRows; ++j) weights[j] = Load(w + j * w_stride + k);
    for (int i = 0; i < kXRows; ++i) {
      const Lanes row = Load(x + i * x_stride + k);
      for (int j = 0; j < kWRows; ++j) sums[i][j] = Fma(row, weights[j], sums[i][j]);
    }
  }
}

// As many sums as the registers hold: AVX-512 has 32 of 16 lanes, AVX2 16 of 8.
#ifdef __AVX512F__
constexpr int kTileXRows = 4, kTileWRows = 4;
#else
constexpr int kTileXRows = 2, kTileWRows = 2;
#endif

// Calls block<rows, columns>(i, j) over a grid of x_rows by w_rows in the largest blocks that fit.
template <typename Block>
inline void ForEachBlock(int64_t x_rows, int64_t w_rows, const Block& block) {
  int64_t i = 0;
  for (; i + kTileXRows <= x_rows; i += kTileXRows) {
    int64_t j = 0;
    for (; j + kTileWRows <= w_rows; j += kTileWRows) {
      block.template Run<kTileXRows, kTileWRows>(i, j);
    }
    for (; j < w_rows; ++j) block.template Run<kTileXRows, 1>(i, j);
  }
  for (; i < x_rows; ++i) {
    int64_t j = 0;
    for (; j + kTileWRows <= w_rows; j += kTileWRows) block.template Run<1, kTileWRows>(i, j);
    for (; j < w_rows; ++j) block.template Run<1, 1>(i, j);
  }
}

struct TileBlock {
  const float* x;
  int64_t x_stride;
  const float* w;
  int64_t w_stride;
  int64_t size;
  float* out;
  int64_t out_stride;

  template <int kXRows, int kWRows>
  void Run(int64_t i, int64_t j) const {
    Lanes sums[kXRows][kWRows];
    for (int a = 0; a < kXRows; ++a) {
      for (int b = 0; b < kWRows; ++b) sums[a][b] = Broadcast(0.0f);
    }
    DotBlock<kXRows, kWRows>(x + i * x_stride, x_stride, w + j * w_stride, w_stride, size, sums);
    for (int a = 0; a < kXRows; ++a) {
      for (int b = 0; b < kWRows; ++b) out[(i + a) * out_stride + j + b] = Sum(sums[a][b]);
    }
  }
};

void DotTile(const float* x, int64_t x_stride, int64_t x_rows, const float* w, int64_t w_stride,
             int64_t w_rows, int64_t size, float* out, int64_t out_stride) {
  ForEachBlock(x_rows, w_rows, TileBlock{x, x_stride, w, w_stride, size, out, out_stride});
}

struct AccumulateBlock {
  const float* x;
  int64_t x_stride;
  const float* w;
  int64_t w_stride;
  int64_t w_rows;
  int64_t size;
  float* lanes;

  template <int kXRows, int kWRows>
  void Run(int64_t i, int64_t j) const {
    Lanes sums[kXRows][kWRows];
    float* first = lanes + (i * w_rows + j) * kLanes;
    for (int a = 0; a < kXRows; ++a) {
      for (int b = 0; b < kWRows; ++b) sums[a][b] = Load(first + (a * w_rows + b) * kLanes);
    }
    DotBlock<kXRows, kWRows>(x + i * x_stride, x_stride, w + j * w_stride, w_stride, size, sums);
    for (int a = 0; a < kXRows; ++a) {
      for (int b = 0; b < kWRows; ++b) Store(first + (a * w_rows + b) * kLanes, sums[a][b]);
    }
  }
};

void DotAccumulate(const float* x, int64_t x_stride, int64_t x_rows, const float* w,
                   int64_t w_stride, int64_t w_rows, int64_t size, float* sums) {
  ForEachBlock(x_rows, w_rows, AccumulateBlock{x, x_stride, w, w_stride, w_rows, size, sums});
}

// kColumns registers of `out`, each of which depends on its own columns alone.
template <int kColumns>
inline void AddCombinationColumns(const float* factors, const float* rows, int64_t count,
                                  int64_t size, float scale, float* out) {
  Lanes sums[kColumns];
  for (int c = 0; c < kColumns; ++c) sums[c] = Broadcast(0.0f);
  for (int64_t k = 0; k < count; ++k) {
    const Lanes factor = Broadcast(factors[k]);
    for (int c = 0; c < kColumns; ++c) {
      sums[c] = Fma(factor, Load(rows + k * size + c * kLanes), sums[c]);
    }
  }
  const Lanes scales = Broadcast(scale);
  for (int c = 0; c < kColumns; ++c) {
    Store(out + c * kLanes, Fma(scales, sums[c], Load(out + c * kLanes)));
  }
}

void AddCombination(const float* factors, const float* rows, int64_t count, int64_t size,
                    float scale, float* out) {
  constexpr int kColumns = 4;
  int64_t i = 0;
  for (; i + kColumns * kLanes <= size; i += kColumns * kLanes) {
    AddCombinationColumns<kColumns>(factors, rows + i, count, size, scale, out + i);
  }
  for (; i < size; i += kLanes) {
    AddCombinationColumns<1>(factors, rows + i, count, size, scale, out + i);
  }
}

void Reduce(const float* lanes, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = Sum(Load(lanes + i * kLanes));
}

void RmsNorm(const float* x, const float* weight, int64_t size, float epsilon, float* out) {
  Lanes squares = Broadcast(0.0f);
  for (int64_t i = 0; i < size; i += kLanes) {
    const Lanes value = Load(x + i);
    squares = Fma(value, value, squares);
  }
  const float mean = Sum(squares) / static_cast<float>(size) + epsilon;
  const Lanes factor = Broadcast(1.0f / __builtin_sqrtf(mean));
  for (int64_t i = 0; i < size; i += kLanes) {
    const Lanes normed = Mul(Load(x + i), factor);
    Store(out + i, weight == nullptr ? normed : Mul(normed, Load(weight + i)));
  }
}

void AddScale(float* x, const float* y, int64_t size, float scale) {
  for (int64_t i = 0; i < size; ++i) x[i] = (x[i] + y[i]) * scale;
}

// 0.5 t (1 + tanh(sqrt(2 / pi) (t + 0.044715 t^3)))
inline Lanes GeluTanh(Lanes t) {
  const Lanes cubic = Mul(Mul(t, t), Mul(t, Broadcast(0.044715f)));
  const Lanes inner = Mul(Broadcast(0.7978845608028654f), Add(t, cubic));
  return Mul(Mul(Broadcast(0.5f), t), Add(Broadcast(1.0f), Tanh(inner)));
}

void GeGlu(const float* gate, const float* up, int64_t size, float* out) {
  for (int64_t i = 0; i < size; i += kLanes) {
    Store(out + i, Mul(GeluTanh(Load(gate + i)), Load(up + i)));
  }
}

inline Lanes SoftCapLanes(Lanes x, Lanes cap) { return Mul(cap, Tanh(Div(x, cap))); }

void SoftCap(float* x, int64_t size, float cap) {
  const Lanes scale = Broadcast(cap);
  const int64_t whole = size / kLanes * kLanes;
  for (int64_t i = 0; i < whole; i += kLanes) Store(x + i, SoftCapLanes(Load(x + i), scale));
  float rest[kLanes] = {};
  memcpy(rest, x + whole, (size - whole) * sizeof(float));
  Store(rest, SoftCapLanes(Load(rest), scale));
  memcpy(x + whole, rest, (size - whole) * sizeof(float));
}

void DecodeKvF32(const uint8_t* codes, int64_t count, float* out) {
  memcpy(out, codes, count * sizeof(float));
}

void DecodeKvBf16(const uint8_t* codes, int64_t count, float* out) {
  for (int64_t i = 0; i < count; i += kLanes) Store(out + i, LoadBf16(codes + 2 * i));
}

void DecodeKvFp8(const uint8_t* codes, int64_t count, float* out) {
  for (int64_t i = 0; i < count; i += kLanes) Store(out + i, LoadE4m3(codes + i));
}

void DecodeKvQ8(const uint8_t* codes, int64_t count, float* out) {
  // Two registers share a step of 32 values.
  for (int64_t i = 0; i < count; i += kLanes) {
    const float step = ReadHalf(codes + count + i / 32 * 2);
    Store(out + i, Mul(Broadcast(step), LoadInt8(codes + i)));
  }
}

constexpr int64_t kBlockKeys = 64;

// Turns one head's scores of a page, of which it sees [begin, end), into the weights of its keys:
// exponentials below the maximum so far, zero for keys that it does not see. Gives back what the
// earlier sum and output are to be multiplied by.
inline float SoftmaxBlock(float* scores, int64_t begin, int64_t end, float* maximum, float* sum) {
  for (int64_t j = 0; j < begin; ++j) scores[j] = -__builtin_inff();
  for (int64_t j = end; j < kBlockKeys; ++j) scores[j] = -__builtin_inff();
  Lanes largest = Load(scores);
  for (int64_t j = kLanes; j < kBlockKeys; j += kLanes) largest = Max(largest, Load(scores + j));
  const float old_maximum = *maximum, block_maximum = Largest(largest);
  const float new_maximum = block_maximum > old_maximum ? block_maximum : old_maximum;
  for (int64_t j = 0; j < kBlockKeys; j += kLanes) {
    Store(scores + j, Exp(Sub(Load(scores + j), Broadcast(new_maximum))));
  }
  // Exp never gives zero itself.
  for (int64_t j = 0; j < begin; ++j) scores[j] = 0.0f;
  for (int64_t j = end; j < kBlockKeys; ++j) scores[j] = 0.0f;
  Lanes total = Load(scores);
  for (int64_t j = kLanes; j < kBlockKeys; j += kLanes) total = Add(total, Load(scores + j));

  alignas(64) float rescales[kLanes] = {};
  rescales[0] = *sum == 0.0f ? -100.0f : old_maximum - new_maximum;
  Store(rescales, Exp(Load(rescales)));
  const float rescale = *sum == 0.0f ? 0.0f : rescales[0];
  *maximum = new_maximum;
  *sum = *sum * rescale + Sum(total);
  return rescale;
}

// out[h, c] = out[h, c] * rescale[h] + weights[h] . values[:, c] for kHeads heads and kColumns
// registers of the dimension, over keys [begin, end) in ascending order.
template <int kColumns, int kHeads>
inline void SumValues(const float* weights, const float* rescale, const float* values,
                      int64_t value_stride, int64_t begin, int64_t end, int64_t head_dim,
                      float* out) {
  Lanes sums[kHeads][kColumns];
  for (int h = 0; h < kHeads; ++h) {
    const Lanes factor = Broadcast(rescale[h]);
    for (int c = 0; c < kColumns; ++c) {
      sums[h][c] = Mul(Load(out + h * head_dim + c * kLanes), factor);
    }
  }
  for (int64_t j = begin; j < end; ++j) {
    const float* value = values + j * value_stride;
    Lanes loaded[kColumns];
    for (int c = 0; c < kColumns; ++c) loaded[c] = Load(value + c * kLanes);
    for (int h = 0; h < kHeads; ++h) {
      const Lanes factor = Broadcast(weights[h * kBlockKeys + j]);
      for (int c = 0; c < kColumns; ++c) sums[h][c] = Fma(factor, loaded[c], sums[h][c]);
    }
  }
  for (int h = 0; h < kHeads; ++h) {
    for (int c = 0; c < kColumns; ++c) Store(out + h * head_dim + c * kLanes, sums[h][c]);
  }
}

// kColumns registers of the dimension, for all rows of the tile.
template <int kColumns>
inline void SumColumns(const facet::AttendTile& tile, int64_t column) {
  const float* values = tile.values + column * kLanes;
  for (int64_t row = 0; row < tile.rows; ++row) {
    const int64_t begin = tile.begin[row], end = tile.end[row];
    if (begin >= end) continue;
    int64_t vector = row * tile.heads;
    const int64_t last = vector + tile.heads;
    const auto sum = [&]<int kHeads>() {
      SumValues<kColumns, kHeads>(tile.scores + vector * kBlockKeys, tile.rescale + vector, values,
                                  tile.value_stride, begin, end, tile.head_dim,
                                  tile.out + vector * tile.head_dim + column * kLanes);
      vector += kHeads;
    };
    while (vector + kTileWRows <= last) sum.template operator()<kTileWRows>();
    while (vector + 2 <= last) sum.template operator()<2>();
    if (vector < last) sum.template operator()<1>();
  }
}

// Flash attention's online softmax (Dao et al. 2022, algorithm 1), one page of keys. The columns
// are the outer loop, so that a slice of the values stays in the first cache level for all rows.
void AttendPage(const facet::AttendTile& tile) {
  for (int64_t row = 0; row < tile.rows; ++row) {
    if (tile.begin[row] >= tile.end[row]) continue;
    for (int64_t i = row * tile.heads; i < (row + 1) * tile.heads; ++i) {
      tile.rescale[i] = SoftmaxBlock(tile.scores + i * kBlockKeys, tile.begin[row], tile.end[row],
                                     &tile.maximum[i], &tile.sum[i]);
    }
  }
  const int64_t columns = tile.head_dim / kLanes;
  int64_t column = 0;
  for (; column + kTileXRows <= columns; column += kTileXRows) SumColumns<kTileXRows>(tile, column);
  for (; column < columns; ++column) SumColumns<1>(tile, column);
}

constexpr facet::VectorKernels MakeKernels(const char* name) {
  facet::VectorKernels kernels = {};
  kernels.name = name;
  kernels.dequantize[0] = DequantizeF32;
  kernels.dequantize[1] = DequantizeF16;
  kernels.dequantize[2] = DequantizeQ4_0;
  kernels.dequantize[3] = DequantizeQ4_1;
  kernels.dequantize[6] = DequantizeQ5_0;
  kernels.dequantize[7] = DequantizeQ5_1;
  kernels.dequantize[8] = DequantizeQ8_0;
  kernels.dequantize[10] = DequantizeQ2_K;
  kernels.dequantize[11] = DequantizeQ3_K;
  kernels.dequantize[12] = DequantizeQ4_K;
  kernels.dequantize[13] = DequantizeQ5_K;
  kernels.dequantize[14] = DequantizeQ6_K;
  kernels.dequantize[20] = DequantizeIQ4_NL;
  kernels.dequantize[23] = DequantizeIQ4_XS;
  kernels.dequantize[30] = DequantizeBF16;
  kernels.dot_tile = DotTile;
  kernels.dot_accumulate = DotAccumulate;
  kernels.add_combination = AddCombination;
  kernels.reduce = Reduce;
  kernels.rms_norm = RmsNorm;
  kernels.add_scale = AddScale;
  kernels.geglu = GeGlu;
  kernels.softcap = SoftCap;
  kernels.decode_kv[0] = DecodeKvF32;
  kernels.decode_kv[1] = DecodeKvBf16;
  kernels.decode_kv[2] = DecodeKvFp8;
  kernels.decode_kv[3] = DecodeKvQ8;
  kernels.attend_page = AttendPage;
  return kernels;
}

}  // namespace
