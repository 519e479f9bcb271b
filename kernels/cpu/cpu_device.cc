#include "kernels/cpu/cpu_device.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "kernels/cpu/cpu_features.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/cpu/vector_kernels.h"
#include "kernels/host_memory.h"

namespace facet {
namespace {

// Rows of weights that one task decodes and multiplies: small enough that many tasks share the work
// evenly, and a multiple of the tiles of both instruction sets.
constexpr int kPanelRows = 8;
// With few rows of x, a panel is decoded in pieces of this many columns, which stay in the first
// cache level (8 x 512 x 4 bytes = 16 KiB). A multiple of every block size.
constexpr int kPanelColumns = 512;
constexpr int kFewRows = 8;
// Below this many multiply-adds a loop is done before a second thread has woken.
constexpr int64_t kParallelWorkMin = 1 << 16;
constexpr int kThreadsMax = 1024;
// Neighbouring rows of one sequence that attend together, so that a page is decoded and read once
// for all of them.
constexpr int kTileRows = 16;
// Where a tile alone would leave threads idle, its heads are shared out, not fewer than this each.
constexpr int kTaskHeadsMin = 4;
// Decoded rows stand this many floats further apart than they are long: at a power of two, a column
// of them would fall into few sets of the first cache level.
constexpr int kRowGap = 16;
// Columns of an adapter's basis that one task decodes and adds: 16 rows of them are 16 KiB.
constexpr int64_t kBasisColumns = 256;
// Keys that are decoded and scored at once: 16 x 512 x 4 bytes = 32 KiB stay in the first cache
// level.
constexpr int kScoredKeys = 16;

int ProcessorsAllowed() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

class CpuDevice final : public DeviceInHostMemory {
 public:
  CpuDevice(const VectorKernels* kernels, int threads)
      : kernels_(kernels), pool_(threads), scratch_(threads) {}

  // Both instruction sets give the same bits, so neither stands in the name.
  std::string numerics_class() const override { return "cpu f32 2"; }

  void EmbedTokens(const Weight& table, const int32_t* ids, int rows, float scale,
                   float* out) override {
    for (int r = 0; r < rows; ++r) {
      CHECK(ids[r] >= 0 && ids[r] < table.rows) << "id " << ids[r] << " of row " << r;
      float* row = out + r * table.columns;
      Decode(table, ids[r], 0, table.columns, row);
      for (int64_t i = 0; i < table.columns; ++i) row[i] *= scale;
    }
  }

  void GatherRows(const float* x, const int32_t* rows_of_x, int rows, int columns, float* out,
                  int64_t out_stride) override {
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t from = rows_of_x == nullptr ? r : rows_of_x[r];
      std::memcpy(out + r * out_stride, x + from * columns, columns * sizeof(float));
    }
  }

  void ScatterRows(const float* x, const int32_t* rows_of_out, int rows, int columns,
                   float* out) override {
    for (int64_t r = 0; r < rows; ++r) {
      std::memcpy(out + int64_t{rows_of_out[r]} * columns, x + r * columns,
                  columns * sizeof(float));
    }
  }

  void AddRows(float* x, const float* y, int64_t y_stride, int rows, int columns) override {
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t i = 0; i < columns; ++i) x[r * columns + i] += y[r * y_stride + i];
    }
  }

  void LayerNorm(const float* x, const float* weight, const float* bias, int rows, int columns,
                 float epsilon, float* out) override {
    ForRows(rows, columns, [&](int64_t r) {
      const float* from = x + r * columns;
      float* to = out + r * columns;
      double sum = 0, squares = 0;
      for (int i = 0; i < columns; ++i) sum += from[i];
      const double mean = sum / columns;
      for (int i = 0; i < columns; ++i) squares += (from[i] - mean) * (from[i] - mean);
      const auto factor = static_cast<float>(1.0 / std::sqrt(squares / columns + epsilon));
      for (int i = 0; i < columns; ++i) {
        to[i] = (from[i] - static_cast<float>(mean)) * factor * weight[i] + bias[i];
      }
    });
  }

  void RmsNorm(const float* x, const float* weight, int rows, int columns, float epsilon,
               float* out) override {
    ForRows(rows, columns, [&](int64_t r) {
      kernels_->rms_norm(x + r * columns, weight, columns, epsilon, out + r * columns);
    });
  }

  void MatMul(const float* x, const Weight& weight, int rows, float* out) override;
  void AddCombinations(const float* x, const Weight& basis, float scale, const int32_t* rows_of_out,
                       int rows, float* out) override;
  void NormRopeStore(const QueryKeyValue& qkv, const RopeTable& rope, const KvRows& rows,
                     const KvLayer& layer) override;
  void Attend(const float* query, int query_heads, const KvRows& rows, const KvLayer& layer,
              float* out) override;

  void AddNormed(float* x, float* y, const float* weight, int rows, int columns, float epsilon,
                 float scale) override {
    ForRows(rows, columns, [&](int64_t r) {
      float* row = y + r * columns;
      kernels_->rms_norm(row, weight, columns, epsilon, row);
      kernels_->add_scale(x + r * columns, row, columns, scale);
    });
  }

  void GeGlu(const float* gate, const float* up, int64_t elements, float* out) override {
    CHECK_EQ(elements % 16, 0);
    ForChunks(elements, [&](int64_t begin, int64_t size) {
      kernels_->geglu(gate + begin, up + begin, size, out + begin);
    });
  }

  void SoftCap(float* x, int64_t elements, float cap) override {
    ForChunks(elements,
              [&](int64_t begin, int64_t size) { kernels_->softcap(x + begin, size, cap); });
  }

  void ArgMax(const float* x, int rows, int columns, const int32_t* skipped, int skipped_count,
              int32_t* out) override {
    ForRows(rows, columns, [&](int64_t r) {
      const float* row = x + r * columns;
      const auto is_skipped = [&](int column) {
        return std::find(skipped, skipped + skipped_count, column) != skipped + skipped_count;
      };
      int best = 0;
      while (is_skipped(best)) ++best;
      for (int column = best + 1; column < columns; ++column) {
        if (row[column] > row[best] && !is_skipped(column)) best = column;
      }
      out[r] = best;
    });
  }

 private:
  // Rows [first, first + count) of a batch, all of one sequence.
  struct RowTile {
    int first;
    int count;
  };
  static std::vector<RowTile> TilesOf(const KvRows& rows);
  // Attention of a tile's rows for query heads [first_head, first_head + heads), which share a KV
  // head.
  void AttendRows(const float* query, int query_heads, const KvRows& rows, const KvLayer& layer,
                  const RowTile& tile, int kv_head, int first_head, int heads, float* out,
                  int thread);

  // Values [column, column + count) of one row.
  void Decode(const Weight& weight, int64_t row, int64_t column, int64_t count, float* out) const {
    const auto* bytes = static_cast<const uint8_t*>(weight.data) +
                        row * RowBytes(weight.type, weight.columns) + RowBytes(weight.type, column);
    kernels_->dequantize[static_cast<int>(weight.type)](bytes, count, out);
  }

  float* Scratch(int thread, int64_t floats) {
    std::vector<float>& scratch = scratch_[thread];
    if (static_cast<int64_t>(scratch.size()) < floats) scratch.resize(floats);
    return scratch.data();
  }

  // Rows of x by a panel of weights, decoded whole: many rows make the decoding cheap.
  void MultiplyPanel(const float* x, const Weight& weight, int rows, int64_t first, int64_t count,
                     float* out, int thread);
  // The same, decoding a piece of the columns at a time.
  void MultiplyPanelInPieces(const float* x, const Weight& weight, int rows, int64_t first,
                             int64_t count, float* out, int thread);

  template <typename Body>
  void ForTasks(int64_t tasks, int64_t work, const Body& body) {
    if (work < kParallelWorkMin) {
      for (int64_t i = 0; i < tasks; ++i) body(i, 0);
    } else {
      pool_.ParallelFor(tasks, body);
    }
  }
  template <typename Body>
  void ForRows(int rows, int columns, const Body& body) {
    // An element costs a few operations; 8 stands for them.
    ForTasks(rows, int64_t{8} * rows * columns, [&](int64_t r, int) { body(r); });
  }
  template <typename Body>
  void ForChunks(int64_t elements, const Body& body) {
    constexpr int64_t kChunk = 4096;
    ForTasks((elements + kChunk - 1) / kChunk, 16 * elements,
             [&](int64_t i, int) { body(i * kChunk, std::min(kChunk, elements - i * kChunk)); });
  }

  const VectorKernels* const kernels_;
  ThreadPool pool_;
  std::vector<std::vector<float>> scratch_;  // by thread
};

void CpuDevice::MatMul(const float* x, const Weight& weight, int rows, float* out) {
  CHECK_EQ(weight.columns % 16, 0);
  CHECK(kernels_->dequantize[static_cast<int>(weight.type)] != nullptr);
  const int64_t panels = (weight.rows + kPanelRows - 1) / kPanelRows;
  ForTasks(panels, rows * weight.rows * weight.columns, [&](int64_t panel, int thread) {
    const int64_t first = panel * kPanelRows;
    const int64_t count = std::min<int64_t>(kPanelRows, weight.rows - first);
    if (rows <= kFewRows) {
      MultiplyPanelInPieces(x, weight, rows, first, count, out + first, thread);
    } else {
      MultiplyPanel(x, weight, rows, first, count, out + first, thread);
    }
  });
}

void CpuDevice::AddCombinations(const float* x, const Weight& basis, float scale,
                                const int32_t* rows_of_out, int rows, float* out) {
  CHECK_EQ(basis.columns % 16, 0);
  const int64_t rank = basis.rows, columns = basis.columns;
  const int64_t tasks = (columns + kBasisColumns - 1) / kBasisColumns;
  ForTasks(tasks, rows * rank * columns, [&](int64_t task, int thread) {
    const int64_t first = task * kBasisColumns, count = std::min(kBasisColumns, columns - first);
    float* decoded = Scratch(thread, rank * count);
    for (int64_t k = 0; k < rank; ++k) Decode(basis, k, first, count, decoded + k * count);
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t row = rows_of_out == nullptr ? r : rows_of_out[r];
      kernels_->add_combination(x + r * rank, decoded, rank, count, scale,
                                out + row * columns + first);
    }
  });
}

void CpuDevice::MultiplyPanel(const float* x, const Weight& weight, int rows, int64_t first,
                              int64_t count, float* out, int thread) {
  const int64_t columns = weight.columns;
  const float* panel;
  if (weight.type == TensorType::kF32) {
    panel = static_cast<const float*>(weight.data) + first * columns;
  } else {
    float* decoded = Scratch(thread, kPanelRows * columns);
    for (int64_t j = 0; j < count; ++j) {
      Decode(weight, first + j, 0, columns, decoded + j * columns);
    }
    panel = decoded;
  }
  kernels_->dot_tile(x, columns, rows, panel, columns, count, columns, out, weight.rows);
}

void CpuDevice::MultiplyPanelInPieces(const float* x, const Weight& weight, int rows, int64_t first,
                                      int64_t count, float* out, int thread) {
  const int64_t columns = weight.columns;
  float* decoded = Scratch(thread, int64_t{kPanelRows} * kPanelColumns);
  alignas(64) float sums[kFewRows * kPanelRows * 16] = {};
  for (int64_t k = 0; k < columns; k += kPanelColumns) {
    const int64_t size = std::min<int64_t>(kPanelColumns, columns - k);
    const float* piece = decoded;
    int64_t stride = kPanelColumns;
    if (weight.type == TensorType::kF32) {
      piece = static_cast<const float*>(weight.data) + first * columns + k;
      stride = columns;
    } else {
      for (int64_t j = 0; j < count; ++j) {
        Decode(weight, first + j, k, size, decoded + j * kPanelColumns);
      }
    }
    kernels_->dot_accumulate(x + k, columns, rows, piece, stride, count, size, sums);
  }
  for (int r = 0; r < rows; ++r) {
    kernels_->reduce(sums + r * count * 16, count, out + r * weight.rows);
  }
}

// Rotates dimension i with i + head_dim / 2 (Su et al. 2021, in the half-split form of GPT-NeoX).
void Rotate(float* head, int head_dim, const float* cosines, const float* sines, int pairs) {
  float* second = head + head_dim / 2;
  for (int i = 0; i < pairs; ++i) {
    const float a = head[i], b = second[i];
    head[i] = a * cosines[i] - b * sines[i];
    second[i] = b * cosines[i] + a * sines[i];
  }
}

// One KV head's coded rows of the page that holds `position` in row r's sequence.
uint8_t* PageRows(const KvRows& rows, const KvLayer& layer, int64_t r, int position, int kv_head) {
  const int64_t page =
      rows.page_tables[int64_t{rows.sequence[r]} * rows.page_table_stride + position / kPageTokens];
  CHECK_GE(page, 0);
  return layer.pages + page * layer.page_bytes() + layer.row_bytes() * kPageTokens * kv_head;
}

void CheckLayer(const KvLayer& layer) {
  CHECK_EQ(layer.head_dim % 16, 0);
  if (layer.form == KvForm::kPlain) return;
  CHECK_EQ(layer.row_values() % 16, 0);
  CHECK_LE(2 * layer.turned_pairs, layer.head_dim);
  CHECK(layer.key_norm != nullptr);
}

void CpuDevice::NormRopeStore(const QueryKeyValue& qkv, const RopeTable& rope, const KvRows& rows,
                              const KvLayer& layer) {
  const int head_dim = layer.head_dim;
  CheckLayer(layer);
  CHECK_LE(2 * rope.pairs, head_dim);
  if (layer.form == KvForm::kNarrow) {
    CHECK(qkv.value == nullptr);
    CHECK_EQ(layer.turned_pairs, rope.pairs);
  }
  const int64_t work = int64_t{8} * rows.rows * (qkv.query_heads + 2 * layer.kv_heads) * head_dim;
  ForTasks(rows.rows, work, [&](int64_t r, int thread) {
    const float* cosines = rope.cosines + r * rope.pairs;
    const float* sines = rope.sines + r * rope.pairs;
    for (int h = 0; h < qkv.query_heads; ++h) {
      float* query = qkv.query + (r * qkv.query_heads + h) * head_dim;
      kernels_->rms_norm(query, qkv.query_norm, head_dim, qkv.epsilon, query);
      Rotate(query, head_dim, cosines, sines, rope.pairs);
    }
    if (qkv.key == nullptr) return;
    float* normed_value = Scratch(thread, head_dim + layer.row_values());
    float* stored = normed_value + head_dim;
    for (int h = 0; h < layer.kv_heads; ++h) {
      float* key = qkv.key + (r * layer.kv_heads + h) * head_dim;
      const float* value = qkv.value == nullptr ? key : qkv.value + (key - qkv.key);
      kernels_->rms_norm(value, nullptr, head_dim, qkv.epsilon, normed_value);
      kernels_->rms_norm(key, qkv.key_norm, head_dim, qkv.epsilon, key);
      Rotate(key, head_dim, cosines, sines, rope.pairs);
      PackKeyValue(layer, key, normed_value, stored);
      const int position = rows.position[r];
      EncodeKv(layer.format, stored, layer.row_values(),
               PageRows(rows, layer, r, position, h) + position % kPageTokens * layer.row_bytes());
    }
  });
}

std::vector<CpuDevice::RowTile> CpuDevice::TilesOf(const KvRows& rows) {
  std::vector<RowTile> tiles;
  for (int r = 0; r < rows.rows; ++r) {
    if (tiles.empty() || tiles.back().count == kTileRows ||
        rows.sequence[tiles.back().first] != rows.sequence[r]) {
      tiles.push_back({r, 0});
    }
    ++tiles.back().count;
  }
  return tiles;
}

void CpuDevice::Attend(const float* query, int query_heads, const KvRows& rows,
                       const KvLayer& layer, float* out) {
  CheckLayer(layer);
  const int group = query_heads / layer.kv_heads;
  CHECK_EQ(group * layer.kv_heads, query_heads);
  int64_t work = 0;
  for (int r = 0; r < rows.rows; ++r) {
    CHECK_LE(rows.first_key[r], rows.last_key[r]);
    work += int64_t{2} * (rows.last_key[r] - rows.first_key[r] + 1) * query_heads * layer.head_dim;
  }
  const std::vector<RowTile> tiles = TilesOf(rows);
  const auto pairs = static_cast<int64_t>(tiles.size()) * layer.kv_heads;
  int parts = 1;  // of a group of heads
  while (pairs * parts < pool_.size() && group % (2 * parts) == 0 &&
         group / (2 * parts) >= kTaskHeadsMin) {
    parts *= 2;
  }
  ForTasks(pairs * parts, work, [&](int64_t task, int thread) {
    const int heads = group / parts;
    const int kv_head = static_cast<int>(task / parts % layer.kv_heads);
    const int first_head = kv_head * group + static_cast<int>(task % parts) * heads;
    AttendRows(query, query_heads, rows, layer, tiles[task / parts / layer.kv_heads], kv_head,
               first_head, heads, out, thread);
  });
}

void CpuDevice::AttendRows(const float* query, int query_heads, const KvRows& rows,
                           const KvLayer& layer, const RowTile& tile, int kv_head, int first_head,
                           int heads, float* out, int thread) {
  const int64_t head_dim = layer.head_dim, row_values = layer.row_values();
  const int64_t row_bytes = layer.row_bytes(), gapped = row_values + kRowGap;
  const int64_t vectors = int64_t{tile.count} * heads;  // row by row, head by head
  float* queries =
      Scratch(thread, vectors * (2 * head_dim + kPageTokens + 3) + kPageTokens * gapped);
  float* sums = queries + vectors * head_dim;       // [vectors, head_dim], of values
  float* scores = sums + vectors * head_dim;        // [vectors, 64]
  float* rescale = scores + vectors * kPageTokens;  // [vectors]
  float* maximum = rescale + vectors;               // [vectors]
  float* total = maximum + vectors;                 // [vectors]
  float* decoded = total + vectors;                 // [64, gapped]
  const auto at = [&](int64_t vector) {
    return ((tile.first + vector / heads) * query_heads + first_head + vector % heads) * head_dim;
  };
  for (int64_t i = 0; i < vectors; ++i) PackQuery(layer, query + at(i), queries + i * head_dim);
  std::fill_n(sums, vectors * head_dim, 0.0f);
  std::fill_n(maximum, vectors, -std::numeric_limits<float>::infinity());
  std::fill_n(total, vectors, 0.0f);

  const int32_t* first_key = rows.first_key + tile.first;
  const int32_t* last_key = rows.last_key + tile.first;
  const int first_page = *std::min_element(first_key, first_key + tile.count) / kPageTokens;
  const int last_page = *std::max_element(last_key, last_key + tile.count) / kPageTokens;
  for (int page = first_page; page <= last_page; ++page) {
    // Row i sees [begin[i], end[i]) of this page, and [low, high) spans what any row sees.
    int begin[kTileRows], end[kTileRows];
    int low = kPageTokens, high = 0;
    for (int i = 0; i < tile.count; ++i) {
      begin[i] = std::max(first_key[i] - page * kPageTokens, 0);
      end[i] = std::min(last_key[i] + 1 - page * kPageTokens, kPageTokens);
      if (begin[i] >= end[i]) continue;
      low = std::min(low, begin[i]);
      high = std::max(high, end[i]);
    }
    if (low >= high) continue;
    const uint8_t* coded = PageRows(rows, layer, tile.first, page * kPageTokens, kv_head);
    // For a single row a copy costs more than it saves, so its floats are read where they are.
    const bool in_place = layer.format == KvFormat::kF32 && tile.count == 1;
    const float* page_rows = in_place ? reinterpret_cast<const float*>(coded) : decoded;
    const int64_t stride = in_place ? row_values : gapped;
    for (int key = low; key < high; key += kScoredKeys) {
      const int keys = std::min(kScoredKeys, high - key);
      for (int i = key; i < key + keys && !in_place; ++i) {
        kernels_->decode_kv[static_cast<int>(layer.format)](coded + i * row_bytes, row_values,
                                                            decoded + i * gapped);
      }
      kernels_->dot_tile(queries, head_dim, vectors, page_rows + key * stride, stride, keys,
                         head_dim, scores + key, kPageTokens);
    }
    kernels_->attend_page({tile.count, heads, head_dim, begin, end,
                           page_rows + row_values - head_dim, stride, scores, rescale, maximum,
                           total, sums});
  }
  for (int64_t i = 0; i < vectors; ++i) {
    float* sum = sums + i * head_dim;
    for (int64_t d = 0; d < head_dim; ++d) sum[d] /= total[i];
    UnpackValue(layer, sum, out + at(i));
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Device>> MakeCpuDevice(const CpuOptions& options) {
  ASSIGN_OR_RETURN(const VectorKernels* kernels, PickVectorKernels(options.path));
  if (options.threads < 0 || options.threads > kThreadsMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("--threads=", options.threads, " is not in [0, ", kThreadsMax, "]"));
  }
  const int threads = options.threads == 0 ? ProcessorsAllowed() : options.threads;
  return std::unique_ptr<Device>(std::make_unique<CpuDevice>(kernels, threads));
}

}  // namespace facet
