#ifndef FACET_WORKER_TENSOR_LOADER_H_
#define FACET_WORKER_TENSOR_LOADER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/device.h"
#include "model/model_file.h"
#include "worker/shard_plan.h"

namespace facet {

// Takes tensors out of a file by name, checks their shapes and puts them on a device. NOT_FOUND and
// INVALID_ARGUMENT name the file and the tensor.
class TensorLoader {
 public:
  // `buffers` takes the memory that vectors and parts of rows need; matrices may stay in the file's
  // mapping.
  TensorLoader(const ModelFile& file, Device& device, std::vector<DeviceBuffer>& buffers)
      : file_(file), device_(device), buffers_(buffers) {}

  absl::StatusOr<Weight> Matrix(const std::string& name, int64_t rows, int64_t columns);
  // Some rows of one that has `rows` in all.
  absl::StatusOr<Weight> MatrixRows(const std::string& name, int64_t rows, int64_t columns,
                                    const Slice& part);
  // Some columns of one that has `columns` in all: a copy, unless they are all. REQUIRES: `part`
  // begins and ends between blocks.
  absl::StatusOr<Weight> MatrixColumns(const std::string& name, int64_t rows, int64_t columns,
                                       const Slice& part);
  // A tensor [stack, any, columns], as a matrix of all its rows.
  absl::StatusOr<Weight> StackedMatrix(const std::string& name, int64_t stack, int64_t columns);

  // The values of a vector as floats. All are finite.
  absl::StatusOr<std::vector<float>> HostVector(const std::string& name, int64_t size);
  absl::StatusOr<const float*> Vector(const std::string& name, int64_t size);
  absl::StatusOr<int64_t> VectorSize(const std::string& name) const;

 private:
  absl::StatusOr<const Tensor*> Find(const std::string& name) const;
  absl::StatusOr<const Tensor*> Find(const std::string& name, std::vector<int64_t> shape) const;
  absl::StatusOr<Weight> Load(const Tensor& tensor, int64_t rows, int64_t columns);
  absl::Status CheckBlocks(const Tensor& tensor, int64_t columns) const;
  absl::Status Refuse(const Tensor& tensor, const std::string& what) const;

  const ModelFile& file_;
  Device& device_;
  std::vector<DeviceBuffer>& buffers_;
};

}  // namespace facet

#endif  // FACET_WORKER_TENSOR_LOADER_H_
