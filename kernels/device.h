#ifndef FACET_KERNELS_DEVICE_H_
#define FACET_KERNELS_DEVICE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "base/tensor_type.h"
#include "kernels/kv_layer.h"

namespace facet {

// A matrix of weights as a device holds it: `rows` outputs by `columns` inputs.
struct Weight {
  TensorType type = TensorType::kF32;
  int64_t rows = 0;
  int64_t columns = 0;
  const void* data = nullptr;  // device, [rows, columns] in blocks of `type`
};

// Which keys each row of a batch writes and sees, in one of the two pools. All on the device.
// Row r belongs to sequence `sequence[r]`; position p of that sequence lies in page
// page_tables[sequence[r] * page_table_stride + p / 64] at offset p % 64.
struct KvRows {
  int rows = 0;
  const int32_t* position = nullptr;     // [rows]
  const int32_t* sequence = nullptr;     // [rows]
  const int32_t* first_key = nullptr;    // [rows], the first position this row sees
  const int32_t* last_key = nullptr;     // [rows], the last, inclusive: its own or its image's end
  const int32_t* page_tables = nullptr;  // [sequences, page_table_stride]
  int page_table_stride = 0;
};

// cos and sin of the rotation angles of each row.
struct RopeTable {
  const float* cosines = nullptr;  // device, [rows, pairs]
  const float* sines = nullptr;    // device, [rows, pairs]
  int pairs = 0;                   // dimension i turns with i + head_dim / 2, for i < pairs
};

// Memory on a device, freed with this.
using DeviceBuffer = std::unique_ptr<void, std::function<void(void*)>>;

// The operations of the decoder and the embedders on one processor or GPU. The worker calls them in
// the order of the model (worker/model_runner.cc) and does not know which device it has.
//
// Owned and called by one thread, the engine's; but Allocate, freeing, and CopyToDevice to memory
// that no operation was given yet may be called by any. Operations are queued in order;
// CopyToHostBlocking alone waits for them. All matrices are row-major float32 without gaps unless
// said otherwise. Shapes are CHECKed: a wrong one is our own bug. Whatever the number of rows in a
// call, row r's result has the same bits (the law of serving).
class Device {
 public:
  virtual ~Device() = default;

  // "cpu f32 2": devices with equal names give equal results bit for bit, over layers of equal form
  // and format.
  virtual std::string numerics_class() const = 0;

  // RESOURCE_EXHAUSTED says how much was asked for.
  virtual absl::StatusOr<DeviceBuffer> Allocate(int64_t bytes) = 0;
  virtual void CopyToDevice(void* to, const void* from, int64_t bytes) = 0;
  virtual void CopyToHostBlocking(void* to, const void* from, int64_t bytes) = 0;
  // The same floats where the host can read them, without a copy if it can read them where they
  // are. Valid until the next operation that writes them, or the next ReadBlocking.
  virtual const float* ReadBlocking(const float* from, int64_t elements) = 0;
  // Makes a matrix of `host` data usable. `host` must outlive the device: a device may use it in
  // place.
  virtual absl::StatusOr<Weight> LoadWeight(TensorType type, int64_t rows, int64_t columns,
                                            const void* host) = 0;

  // out[r] = table[ids[r]] * scale.
  virtual void EmbedTokens(const Weight& table, const int32_t* ids, int rows, float scale,
                           float* out) = 0;
  // out[r] = x[rows_of_x[r]], or x[r] if `rows_of_x` is null. Rows of `out` stand `out_stride`
  // apart.
  virtual void GatherRows(const float* x, const int32_t* rows_of_x, int rows, int columns,
                          float* out, int64_t out_stride) = 0;
  // out[rows_of_out[r]] = x[r].
  virtual void ScatterRows(const float* x, const int32_t* rows_of_out, int rows, int columns,
                           float* out) = 0;
  // x[r] += y[r], whose rows stand `y_stride` apart; 0: one row for all.
  virtual void AddRows(float* x, const float* y, int64_t y_stride, int rows, int columns) = 0;
  // out[r] = (x[r] - mean(x[r])) / sqrt(variance(x[r]) + epsilon) * weight + bias. `out` may be
  // `x`.
  virtual void LayerNorm(const float* x, const float* weight, const float* bias, int rows,
                         int columns, float epsilon, float* out) = 0;
  // out[r] = x[r] / rms(x[r]) * weight. `weight` may be null. `out` may be `x`.
  virtual void RmsNorm(const float* x, const float* weight, int rows, int columns, float epsilon,
                       float* out) = 0;
  // out [rows, weight.rows] = x [rows, weight.columns] * weight^T.
  virtual void MatMul(const float* x, const Weight& weight, int rows, float* out) = 0;
  // out[rows_of_out[r]] += scale * x[r] * basis, or out[r] if `rows_of_out` is null: `x` is [rows,
  // basis.rows], a row of `out` has basis.columns. The second half of an adapter's change, whose
  // first is a MatMul. REQUIRES: basis is F32, F16 or BF16; no row of `out` is named twice.
  virtual void AddCombinations(const float* x, const Weight& basis, float scale,
                               const int32_t* rows_of_out, int rows, float* out) = 0;

  // Normalises and turns queries and keys, and writes keys and values into their pages, as the
  // layer's form and format say. Without a key it does this for the queries alone. REQUIRES: in the
  // narrow form, `value` is null, and the layer's pairs and key_norm are those given here.
  struct QueryKeyValue {
    float* query = nullptr;             // [rows, query_heads, head_dim]; normed and turned in place
    float* key = nullptr;               // [rows, kv_heads, head_dim]; overwritten; may be null
    const float* value = nullptr;       // [rows, kv_heads, head_dim]; null: the key before its norm
    const float* query_norm = nullptr;  // [head_dim]
    const float* key_norm = nullptr;    // [head_dim]
    int query_heads = 0;
    float epsilon = 0;
  };
  virtual void NormRopeStore(const QueryKeyValue& qkv, const RopeTable& rope, const KvRows& rows,
                             const KvLayer& layer) = 0;

  // out[r, h] = softmax(query[r, h] . keys) values over the keys that row r sees, unscaled. `query`
  // is as NormRopeStore leaves it, whatever the layer's form.
  // REQUIRES: first_key <= last_key, and these keys are stored.
  virtual void Attend(const float* query, int query_heads, const KvRows& rows, const KvLayer& layer,
                      float* out) = 0;

  // x[r] = (x[r] + rms_norm(y[r]) * weight) * scale. `y` is overwritten.
  virtual void AddNormed(float* x, float* y, const float* weight, int rows, int columns,
                         float epsilon, float scale) = 0;
  // out = gelu_tanh(gate) * up, elementwise.
  virtual void GeGlu(const float* gate, const float* up, int64_t elements, float* out) = 0;
  // x = cap * tanh(x / cap), elementwise.
  virtual void SoftCap(float* x, int64_t elements, float cap) = 0;
  // out[r] = the column of the largest x[r, column], the first of equals. Columns that `skipped`
  // names are passed over; not all are.
  virtual void ArgMax(const float* x, int rows, int columns, const int32_t* skipped,
                      int skipped_count, int32_t* out) = 0;
};

}  // namespace facet

#endif  // FACET_KERNELS_DEVICE_H_
