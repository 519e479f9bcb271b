#include "kernels/testing/host_memory_device.h"

#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

#include "base/check.h"
#include "kernels/host_memory.h"

namespace facet::testing {
namespace {

class HostMemoryDevice final : public DeviceInHostMemory {
 public:
  explicit HostMemoryDevice(std::unique_ptr<Device> device) : device_(std::move(device)) {}

  std::string numerics_class() const override { return device_->numerics_class(); }
  void EmbedTokens(const Weight& table, const int32_t* ids, int rows, float scale,
                   float* out) override {
    Call call(*device_);
    device_->EmbedTokens(call.In(table), call.In(ids, rows), rows, scale,
                         call.Out(out, rows * table.columns));
  }
  void GatherRows(const float* x, const int32_t* rows_of_x, int rows, int columns, float* out,
                  int64_t out_stride) override {
    Call call(*device_);
    device_->GatherRows(call.In(x, RowsNamed(rows_of_x, rows) * columns), call.In(rows_of_x, rows),
                        rows, columns, call.Out(out, (rows - 1) * out_stride + columns),
                        out_stride);
  }
  void ScatterRows(const float* x, const int32_t* rows_of_out, int rows, int columns,
                   float* out) override {
    Call call(*device_);
    device_->ScatterRows(call.In(x, int64_t{rows} * columns), call.In(rows_of_out, rows), rows,
                         columns, call.Out(out, RowsNamed(rows_of_out, rows) * columns));
  }
  void AddRows(float* x, const float* y, int64_t y_stride, int rows, int columns) override {
    Call call(*device_);
    const float* from = call.In(y, (rows - 1) * y_stride + columns);
    device_->AddRows(call.Out(x, int64_t{rows} * columns), from, y_stride, rows, columns);
  }
  void LayerNorm(const float* x, const float* weight, const float* bias, int rows, int columns,
                 float epsilon, float* out) override {
    Call call(*device_);
    float* to = call.Out(out, int64_t{rows} * columns);
    device_->LayerNorm(x == out ? to : call.In(x, int64_t{rows} * columns),
                       call.In(weight, columns), call.In(bias, columns), rows, columns, epsilon,
                       to);
  }
  void RmsNorm(const float* x, const float* weight, int rows, int columns, float epsilon,
               float* out) override {
    Call call(*device_);
    float* to = call.Out(out, int64_t{rows} * columns);
    device_->RmsNorm(x == out ? to : call.In(x, int64_t{rows} * columns), call.In(weight, columns),
                     rows, columns, epsilon, to);
  }
  void MatMul(const float* x, const Weight& weight, int rows, float* out) override {
    Call call(*device_);
    device_->MatMul(call.In(x, rows * weight.columns), call.In(weight), rows,
                    call.Out(out, rows * weight.rows));
  }
  void AddCombinations(const float* x, const Weight& basis, float scale, const int32_t* rows_of_out,
                       int rows, float* out) override {
    Call call(*device_);
    device_->AddCombinations(call.In(x, rows * basis.rows), call.In(basis), scale,
                             call.In(rows_of_out, rows), rows,
                             call.Out(out, RowsNamed(rows_of_out, rows) * basis.columns));
  }

  void NormRopeStore(const QueryKeyValue& qkv, const RopeTable& rope, const KvRows& rows,
                     const KvLayer& layer) override {
    Call call(*device_);
    const int64_t heads = int64_t{rows.rows} * layer.kv_heads;
    QueryKeyValue moved = qkv;
    moved.query = call.Out(qkv.query, int64_t{rows.rows} * qkv.query_heads * layer.head_dim);
    moved.key = call.Out(qkv.key, heads * layer.head_dim);
    moved.value = call.In(qkv.value, heads * layer.head_dim);
    moved.query_norm = call.In(qkv.query_norm, layer.head_dim);
    moved.key_norm = call.In(qkv.key_norm, layer.head_dim);
    const RopeTable turned = {call.In(rope.cosines, int64_t{rows.rows} * rope.pairs),
                              call.In(rope.sines, int64_t{rows.rows} * rope.pairs), rope.pairs};
    device_->NormRopeStore(moved, turned, Moved(rows, call), Moved(layer, rows, call));
  }
  void Attend(const float* query, int query_heads, const KvRows& rows, const KvLayer& layer,
              float* out) override {
    Call call(*device_);
    const int64_t elements = int64_t{rows.rows} * query_heads * layer.head_dim;
    device_->Attend(call.In(query, elements), query_heads, Moved(rows, call),
                    Moved(layer, rows, call), call.Out(out, elements));
  }

  void AddNormed(float* x, float* y, const float* weight, int rows, int columns, float epsilon,
                 float scale) override {
    Call call(*device_);
    device_->AddNormed(call.Out(x, int64_t{rows} * columns), call.Out(y, int64_t{rows} * columns),
                       call.In(weight, columns), rows, columns, epsilon, scale);
  }
  void GeGlu(const float* gate, const float* up, int64_t elements, float* out) override {
    Call call(*device_);
    float* to = call.Out(out, elements);
    device_->GeGlu(gate == out ? to : call.In(gate, elements), call.In(up, elements), elements, to);
  }
  void SoftCap(float* x, int64_t elements, float cap) override {
    Call call(*device_);
    device_->SoftCap(call.Out(x, elements), elements, cap);
  }
  void ArgMax(const float* x, int rows, int columns, const int32_t* skipped, int skipped_count,
              int32_t* out) override {
    Call call(*device_);
    device_->ArgMax(call.In(x, int64_t{rows} * columns), rows, columns,
                    call.In(skipped, skipped_count), skipped_count, call.Out(out, rows));
  }

 private:
  // The copies of one operation; at its end, what may have been written goes back.
  class Call {
   public:
    explicit Call(Device& device) : device_(device) {}
    ~Call() {
      for (const auto& back : backs_) back();
    }
    // Null stays null.
    template <typename T>
    const T* In(const T* host, int64_t elements) {
      return host == nullptr ? nullptr : Copy(host, elements);
    }
    template <typename T>
    T* Out(T* host, int64_t elements) {
      if (host == nullptr) return nullptr;
      T* const copy = Copy(host, elements);
      backs_.push_back([this, host, copy, elements] {
        device_.CopyToHostBlocking(host, copy, elements * static_cast<int64_t>(sizeof(T)));
      });
      return copy;
    }
    Weight In(const Weight& weight) {
      const int64_t bytes = weight.rows * RowBytes(weight.type, weight.columns);
      Weight moved = weight;
      moved.data = Copy(static_cast<const char*>(weight.data), bytes);
      return moved;
    }

   private:
    template <typename T>
    T* Copy(const T* host, int64_t elements) {
      const int64_t bytes = elements * static_cast<int64_t>(sizeof(T));
      auto buffer = device_.Allocate(std::max<int64_t>(bytes, 1));
      CHECK(buffer.ok()) << buffer.status().message();
      device_.CopyToDevice(buffer->get(), host, bytes);
      buffers_.push_back(*std::move(buffer));
      return static_cast<T*>(buffers_.back().get());
    }
    Device& device_;
    std::vector<DeviceBuffer> buffers_;
    std::vector<std::function<void()>> backs_;
  };

  // How many rows a list of them reaches into; all of `rows` without one.
  static int64_t RowsNamed(const int32_t* named, int rows) {
    return named == nullptr ? rows : int64_t{*std::max_element(named, named + rows)} + 1;
  }
  static int64_t TableEntries(const KvRows& rows) {
    return RowsNamed(rows.sequence, rows.rows) * rows.page_table_stride;
  }
  static KvRows Moved(const KvRows& rows, Call& call) {
    KvRows moved = rows;
    moved.position = call.In(rows.position, rows.rows);
    moved.sequence = call.In(rows.sequence, rows.rows);
    moved.first_key = call.In(rows.first_key, rows.rows);
    moved.last_key = call.In(rows.last_key, rows.rows);
    moved.page_tables = call.In(rows.page_tables, TableEntries(rows));
    return moved;
  }
  // With all pages that the tables name.
  static KvLayer Moved(const KvLayer& layer, const KvRows& rows, Call& call) {
    const int32_t last = *std::max_element(rows.page_tables, rows.page_tables + TableEntries(rows));
    KvLayer moved = layer;
    moved.key_norm = call.In(layer.key_norm, layer.head_dim);
    moved.pages = call.Out(layer.pages, (last + 1) * layer.page_bytes());
    return moved;
  }

  const std::unique_ptr<Device> device_;
};

}  // namespace

std::unique_ptr<Device> OnHostMemory(std::unique_ptr<Device> device) {
  return std::make_unique<HostMemoryDevice>(std::move(device));
}

}  // namespace facet::testing
