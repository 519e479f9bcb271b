#include "kernels/reference_device.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "base/check.h"
#include "kernels/dequantize.h"
#include "kernels/host_memory.h"

namespace facet {
namespace {

std::vector<float> DecodeRow(const Weight& weight, int64_t row) {
  std::vector<float> values(weight.columns);
  const auto* bytes =
      static_cast<const char*>(weight.data) + row * RowBytes(weight.type, weight.columns);
  Dequantize(weight.type, bytes, weight.columns, values.data());
  return values;
}

void NormRow(const float* x, const float* weight, int columns, float epsilon, float* out) {
  double squares = 0;
  for (int i = 0; i < columns; ++i) squares += double{x[i]} * x[i];
  const double factor = 1.0 / std::sqrt(squares / columns + epsilon);
  for (int i = 0; i < columns; ++i) {
    out[i] = static_cast<float>(x[i] * factor * (weight == nullptr ? 1.0 : double{weight[i]}));
  }
}

void RotateHead(float* head, int head_dim, const RopeTable& rope, int row) {
  for (int i = 0; i < rope.pairs; ++i) {
    const double cosine = rope.cosines[row * rope.pairs + i];
    const double sine = rope.sines[row * rope.pairs + i];
    const double a = head[i], b = head[i + head_dim / 2];
    head[i] = static_cast<float>(a * cosine - b * sine);
    head[i + head_dim / 2] = static_cast<float>(b * cosine + a * sine);
  }
}

// The coded row of one token and head.
uint8_t* StoredRow(const KvRows& rows, const KvLayer& layer, int row, int position, int head) {
  const int32_t* pages = rows.page_tables + int64_t{rows.sequence[row]} * rows.page_table_stride;
  const int64_t page = pages[position / kPageTokens];
  return layer.pages + page * layer.page_bytes() +
         (int64_t{head} * kPageTokens + position % kPageTokens) * layer.row_bytes();
}

class ReferenceDevice final : public DeviceInHostMemory {
 public:
  std::string numerics_class() const override { return "reference"; }

  void EmbedTokens(const Weight& table, const int32_t* ids, int rows, float scale,
                   float* out) override {
    for (int r = 0; r < rows; ++r) {
      for (const float value : DecodeRow(table, ids[r])) *out++ = value * scale;
    }
  }

  void GatherRows(const float* x, const int32_t* rows_of_x, int rows, int columns, float* out,
                  int64_t out_stride) override {
    for (int r = 0; r < rows; ++r) {
      const int64_t from = rows_of_x == nullptr ? r : rows_of_x[r];
      std::copy_n(x + from * columns, columns, out + r * out_stride);
    }
  }

  void ScatterRows(const float* x, const int32_t* rows_of_out, int rows, int columns,
                   float* out) override {
    for (int64_t r = 0; r < rows; ++r) {
      std::copy_n(x + r * columns, columns, out + int64_t{rows_of_out[r]} * columns);
    }
  }

  void AddRows(float* x, const float* y, int64_t y_stride, int rows, int columns) override {
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t i = 0; i < columns; ++i) x[r * columns + i] += y[r * y_stride + i];
    }
  }

  void LayerNorm(const float* x, const float* weight, const float* bias, int rows, int columns,
                 float epsilon, float* out) override {
    for (int64_t r = 0; r < rows; ++r, x += columns, out += columns) {
      double mean = 0, variance = 0;
      for (int i = 0; i < columns; ++i) mean += double{x[i]} / columns;
      for (int i = 0; i < columns; ++i) variance += (x[i] - mean) * (x[i] - mean) / columns;
      for (int i = 0; i < columns; ++i) {
        out[i] =
            static_cast<float>((x[i] - mean) / std::sqrt(variance + epsilon) * weight[i] + bias[i]);
      }
    }
  }

  void RmsNorm(const float* x, const float* weight, int rows, int columns, float epsilon,
               float* out) override {
    for (int r = 0; r < rows; ++r) {
      NormRow(x + int64_t{r} * columns, weight, columns, epsilon, out + int64_t{r} * columns);
    }
  }

  void MatMul(const float* x, const Weight& weight, int rows, float* out) override {
    for (int64_t n = 0; n < weight.rows; ++n) {
      const std::vector<float> row = DecodeRow(weight, n);
      for (int r = 0; r < rows; ++r) {
        double sum = 0;
        for (int64_t k = 0; k < weight.columns; ++k) {
          sum += double{x[r * weight.columns + k]} * row[k];
        }
        out[r * weight.rows + n] = static_cast<float>(sum);
      }
    }
  }

  void AddCombinations(const float* x, const Weight& basis, float scale, const int32_t* rows_of_out,
                       int rows, float* out) override {
    for (int r = 0; r < rows; ++r) {
      std::vector<double> sums(basis.columns);
      for (int64_t k = 0; k < basis.rows; ++k) {
        const std::vector<float> row = DecodeRow(basis, k);
        for (int64_t i = 0; i < basis.columns; ++i) {
          sums[i] += double{x[r * basis.rows + k]} * row[i];
        }
      }
      float* to = out + (rows_of_out == nullptr ? r : rows_of_out[r]) * basis.columns;
      for (int64_t i = 0; i < basis.columns; ++i) {
        to[i] = static_cast<float>(to[i] + scale * sums[i]);
      }
    }
  }

  void NormRopeStore(const QueryKeyValue& qkv, const RopeTable& rope, const KvRows& rows,
                     const KvLayer& layer) override {
    const int head_dim = layer.head_dim;
    for (int r = 0; r < rows.rows; ++r) {
      for (int h = 0; h < qkv.query_heads; ++h) {
        float* query = qkv.query + (int64_t{r} * qkv.query_heads + h) * head_dim;
        NormRow(query, qkv.query_norm, head_dim, qkv.epsilon, query);
        RotateHead(query, head_dim, rope, r);
      }
      for (int h = 0; qkv.key != nullptr && h < layer.kv_heads; ++h) {
        const int64_t at = (int64_t{r} * layer.kv_heads + h) * head_dim;
        std::vector<float> key(head_dim), value(head_dim), row(layer.row_values());
        NormRow((qkv.value == nullptr ? qkv.key : qkv.value) + at, nullptr, head_dim, qkv.epsilon,
                value.data());
        NormRow(qkv.key + at, qkv.key_norm, head_dim, qkv.epsilon, key.data());
        RotateHead(key.data(), head_dim, rope, r);
        for (int d = 0; d < head_dim; ++d) {
          row[layer.ValueIndex(d)] = value[d];
          if (layer.form == KvForm::kPlain || layer.Turned(d)) row[layer.KeyIndex(d)] = key[d];
        }
        EncodeKv(layer.format, row.data(), layer.row_values(),
                 StoredRow(rows, layer, r, rows.position[r], h));
      }
    }
  }

  void Attend(const float* query, int query_heads, const KvRows& rows, const KvLayer& layer,
              float* out) override {
    const int group = query_heads / layer.kv_heads;
    for (int r = 0; r < rows.rows; ++r) {
      for (int h = 0; h < query_heads; ++h) {
        const int64_t at = (int64_t{r} * query_heads + h) * layer.head_dim;
        AttendHead(query + at, rows, layer, r, h / group, out + at);
      }
    }
  }

  void AddNormed(float* x, float* y, const float* weight, int rows, int columns, float epsilon,
                 float scale) override {
    RmsNorm(y, weight, rows, columns, epsilon, y);
    for (int64_t i = 0; i < int64_t{rows} * columns; ++i) x[i] = (x[i] + y[i]) * scale;
  }

  void GeGlu(const float* gate, const float* up, int64_t elements, float* out) override {
    for (int64_t i = 0; i < elements; ++i) {
      const double t = gate[i];
      const double inner = std::sqrt(2.0 / M_PI) * (t + 0.044715 * t * t * t);
      out[i] = static_cast<float>(0.5 * t * (1.0 + std::tanh(inner)) * up[i]);
    }
  }

  void SoftCap(float* x, int64_t elements, float cap) override {
    for (int64_t i = 0; i < elements; ++i) {
      x[i] = static_cast<float>(cap * std::tanh(double{x[i]} / cap));
    }
  }

  void ArgMax(const float* x, int rows, int columns, const int32_t* skipped, int skipped_count,
              int32_t* out) override {
    for (int r = 0; r < rows; ++r) {
      std::vector<float> row(x + int64_t{r} * columns, x + int64_t{r + 1} * columns);
      for (int i = 0; i < skipped_count; ++i) row[skipped[i]] = -INFINITY;
      out[r] = static_cast<int32_t>(std::max_element(row.begin(), row.end()) - row.begin());
    }
  }

 private:
  static void AttendHead(const float* query, const KvRows& rows, const KvLayer& layer, int r,
                         int kv_head, float* out) {
    std::vector<double> scores, sums(layer.head_dim);
    std::vector<std::vector<float>> stored;
    for (int key = rows.first_key[r]; key <= rows.last_key[r]; ++key) {
      std::vector<float> row(layer.row_values());
      DecodeKv(layer.format, StoredRow(rows, layer, r, key, kv_head), layer.row_values(),
               row.data());
      double score = 0;
      for (int d = 0; d < layer.head_dim; ++d) {
        const bool from_value = layer.form == KvForm::kNarrow && !layer.Turned(d);
        score += double{query[d]} * row[layer.KeyIndex(d)] * (from_value ? layer.key_norm[d] : 1.0);
      }
      scores.push_back(score);
      stored.push_back(std::move(row));
    }
    const double maximum = *std::max_element(scores.begin(), scores.end());
    double sum = 0;
    for (double& score : scores) sum += score = std::exp(score - maximum);
    for (size_t i = 0; i < scores.size(); ++i) {
      for (int d = 0; d < layer.head_dim; ++d) {
        sums[d] += scores[i] / sum * stored[i][layer.ValueIndex(d)];
      }
    }
    for (int d = 0; d < layer.head_dim; ++d) out[d] = static_cast<float>(sums[d]);
  }
};

}  // namespace

std::unique_ptr<Device> MakeReferenceDevice() { return std::make_unique<ReferenceDevice>(); }

}  // namespace facet
