#include "kernels/cuda/cuda_device.h"

#include <cuda_runtime_api.h>

#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "kernels/cuda/launch.h"

namespace facet {
namespace {

// The oldest card whose code is in the build.
constexpr int kCapabilityMin = 80;

// Of a call that only a broken card or a fault of ours lets fail.
void Must(cudaError_t error, const char* what) {
  CHECK(error == cudaSuccess) << what << " failed on the GPU: " << cudaGetErrorName(error) << ", "
                              << cudaGetErrorString(error);
}

cuda::BlockMatrix MatrixOf(const Weight& weight) {
  return {static_cast<int>(weight.type), weight.rows, weight.columns,
          static_cast<const uint8_t*>(weight.data)};
}

cuda::KvView ViewOf(const KvLayer& layer, const KvRows& rows) {
  cuda::KvView view;
  view.format = static_cast<int>(layer.format);
  view.narrow = layer.form == KvForm::kNarrow;
  view.kv_heads = layer.kv_heads;
  view.head_dim = layer.head_dim;
  view.turned_pairs = layer.turned_pairs;
  view.row_values = layer.row_values();
  view.row_bytes = layer.row_bytes();
  view.page_bytes = layer.page_bytes();
  view.key_norm = layer.key_norm;
  view.pages = layer.pages;
  view.position = rows.position;
  view.sequence = rows.sequence;
  view.first_key = rows.first_key;
  view.last_key = rows.last_key;
  view.page_tables = rows.page_tables;
  view.page_table_stride = rows.page_table_stride;
  return view;
}

// Every operation returns as soon as it is queued; what a launch refuses shows at once, what a
// kernel does wrong at the next copy to the host.
class CudaDevice final : public Device {
 public:
  CudaDevice(int index, cudaStream_t stream) : index_(index), stream_(stream) {}
  ~CudaDevice() override {
    if (host_copy_ != nullptr) cudaFreeHost(host_copy_);
    weights_.clear();
    cudaStreamDestroy(stream_);
  }

  std::string numerics_class() const override { return "cuda portable 1"; }

  absl::StatusOr<DeviceBuffer> Allocate(int64_t bytes) override {
    Choose();
    void* data = nullptr;
    const cudaError_t error = cudaMalloc(&data, bytes);
    if (error == cudaErrorMemoryAllocation) {
      cudaGetLastError();  // It is not of the next launch.
      size_t free = 0, total = 0;
      Must(cudaMemGetInfo(&free, &total), "asking for memory");
      return absl::ResourceExhaustedError(absl::StrCat(
          "the GPU has ", free, " of ", total, " bytes free, but ", bytes, " were asked for"));
    }
    Must(error, "allocating memory");
    // Not in stream_'s order, so it must have ended before anything else is queued.
    Must(cudaMemset(data, 0, bytes), "clearing memory");
    Must(cudaStreamSynchronize(nullptr), "clearing memory");
    return DeviceBuffer(data, [](void* memory) { cudaFree(memory); });
  }

  void CopyToDevice(void* to, const void* from, int64_t bytes) override {
    Must(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream()),
         "copying to the device");
  }

  void CopyToHostBlocking(void* to, const void* from, int64_t bytes) override {
    Must(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream()), "copying to the host");
    Must(cudaStreamSynchronize(stream_), "a step");
  }

  const float* ReadBlocking(const float* from, int64_t elements) override {
    const int64_t bytes = elements * static_cast<int64_t>(sizeof(float));
    if (bytes > host_copy_bytes_) {
      if (host_copy_ != nullptr) Must(cudaFreeHost(host_copy_), "freeing pinned memory");
      Must(cudaMallocHost(reinterpret_cast<void**>(&host_copy_), bytes), "pinning memory");
      host_copy_bytes_ = bytes;
    }
    CopyToHostBlocking(host_copy_, from, bytes);
    return host_copy_;
  }

  absl::StatusOr<Weight> LoadWeight(TensorType type, int64_t rows, int64_t columns,
                                    const void* host) override {
    const int64_t bytes = rows * RowBytes(type, columns);
    ASSIGN_OR_RETURN(DeviceBuffer buffer, Allocate(bytes));
    Must(cudaMemcpy(buffer.get(), host, bytes, cudaMemcpyHostToDevice), "copying weights");
    const Weight weight = {type, rows, columns, buffer.get()};
    weights_.push_back(std::move(buffer));
    return weight;
  }

  void EmbedTokens(const Weight& table, const int32_t* ids, int rows, float scale,
                   float* out) override {
    if (rows == 0) return;
    cuda::EmbedTokens(MatrixOf(table), ids, rows, scale, out, stream());
    Launched("EmbedTokens");
  }
  void GatherRows(const float* x, const int32_t* rows_of_x, int rows, int columns, float* out,
                  int64_t out_stride) override {
    if (rows == 0) return;
    cuda::GatherRows(x, rows_of_x, rows, columns, out, out_stride, stream());
    Launched("GatherRows");
  }
  void ScatterRows(const float* x, const int32_t* rows_of_out, int rows, int columns,
                   float* out) override {
    if (rows == 0) return;
    cuda::ScatterRows(x, rows_of_out, rows, columns, out, stream());
    Launched("ScatterRows");
  }
  void AddRows(float* x, const float* y, int64_t y_stride, int rows, int columns) override {
    if (rows == 0) return;
    cuda::AddRows(x, y, y_stride, rows, columns, stream());
    Launched("AddRows");
  }
  void LayerNorm(const float* x, const float* weight, const float* bias, int rows, int columns,
                 float epsilon, float* out) override {
    if (rows == 0) return;
    cuda::LayerNorm(x, weight, bias, rows, columns, epsilon, out, stream());
    Launched("LayerNorm");
  }
  void RmsNorm(const float* x, const float* weight, int rows, int columns, float epsilon,
               float* out) override {
    if (rows == 0) return;
    cuda::RmsNorm(x, weight, rows, columns, epsilon, out, stream());
    Launched("RmsNorm");
  }
  void MatMul(const float* x, const Weight& weight, int rows, float* out) override {
    if (rows == 0) return;
    cuda::MatMul(x, MatrixOf(weight), rows, out, stream());
    Launched("MatMul");
  }
  void AddCombinations(const float* x, const Weight& basis, float scale, const int32_t* rows_of_out,
                       int rows, float* out) override {
    if (rows == 0) return;
    cuda::AddCombinations(x, MatrixOf(basis), scale, rows_of_out, rows, out, stream());
    Launched("AddCombinations");
  }

  void NormRopeStore(const QueryKeyValue& qkv, const RopeTable& rope, const KvRows& rows,
                     const KvLayer& layer) override {
    if (rows.rows == 0) return;
    const cuda::QueryKeyValueView view = {
        qkv.query,       qkv.key,     qkv.value,    qkv.query_norm, qkv.key_norm,
        qkv.query_heads, qkv.epsilon, rope.cosines, rope.sines,     rope.pairs};
    cuda::NormRopeStore(view, ViewOf(layer, rows), rows.rows, stream());
    Launched("NormRopeStore");
  }
  void Attend(const float* query, int query_heads, const KvRows& rows, const KvLayer& layer,
              float* out) override {
    if (rows.rows == 0) return;
    cuda::Attend(query, query_heads, ViewOf(layer, rows), rows.rows, out, stream());
    Launched("Attend");
  }

  void AddNormed(float* x, float* y, const float* weight, int rows, int columns, float epsilon,
                 float scale) override {
    if (rows == 0) return;
    cuda::AddNormed(x, y, weight, rows, columns, epsilon, scale, stream());
    Launched("AddNormed");
  }
  void GeGlu(const float* gate, const float* up, int64_t elements, float* out) override {
    if (elements == 0) return;
    cuda::GeGlu(gate, up, elements, out, stream());
    Launched("GeGlu");
  }
  void SoftCap(float* x, int64_t elements, float cap) override {
    if (elements == 0) return;
    cuda::SoftCap(x, elements, cap, stream());
    Launched("SoftCap");
  }
  void ArgMax(const float* x, int rows, int columns, const int32_t* skipped, int skipped_count,
              int32_t* out) override {
    if (rows == 0) return;
    cuda::ArgMax(x, rows, columns, skipped, skipped_count, out, stream());
    Launched("ArgMax");
  }

 private:
  // The runtime's current device belongs to the thread, and any may call.
  void Choose() {
    thread_local int chosen = -1;
    if (chosen == index_) return;
    Must(cudaSetDevice(index_), "choosing the device");
    chosen = index_;
  }
  cudaStream_t stream() {
    Choose();
    return stream_;
  }
  void Launched(const char* operation) { Must(cudaGetLastError(), operation); }

  const int index_;
  const cudaStream_t stream_;
  std::vector<DeviceBuffer> weights_;
  float* host_copy_ = nullptr;  // pinned
  int64_t host_copy_bytes_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Device>> MakeCudaDevice(int index) {
  int count = 0;
  const cudaError_t found = cudaGetDeviceCount(&count);
  if (found != cudaSuccess || count == 0) {
    return absl::FailedPreconditionError(absl::StrCat(
        "--device=cuda:", index, ": no NVIDIA GPU or driver: ", cudaGetErrorString(found)));
  }
  if (index < 0 || index >= count) {
    return absl::FailedPreconditionError(
        absl::StrCat("--device=cuda:", index, ": this machine has GPUs 0 to ", count - 1));
  }
  int major = 0, minor = 0;
  Must(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, index), "asking the GPU");
  Must(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, index), "asking the GPU");
  if (10 * major + minor < kCapabilityMin) {
    return absl::FailedPreconditionError(absl::StrCat("--device=cuda:", index,
                                                      " has compute capability ", major, ".", minor,
                                                      "; 8.0 or more is needed"));
  }
  Must(cudaSetDevice(index), "choosing the device");
  cudaStream_t stream = nullptr;
  Must(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "making a stream");
  return std::make_unique<CudaDevice>(index, stream);
}

}  // namespace facet
