#include "worker/tensor_loader.h"

#include <cmath>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "kernels/dequantize.h"

namespace facet {

absl::StatusOr<Weight> TensorLoader::Matrix(const std::string& name, int64_t rows,
                                            int64_t columns) {
  ASSIGN_OR_RETURN(const Tensor* tensor, Find(name, {columns, rows}));
  return Load(*tensor, rows, columns);
}

absl::StatusOr<Weight> TensorLoader::StackedMatrix(const std::string& name, int64_t stack,
                                                   int64_t columns) {
  ASSIGN_OR_RETURN(const Tensor* tensor, Find(name));
  const std::vector<int64_t>& shape = tensor->shape;
  if (shape.size() != 3 || shape[0] != columns || shape[1] < 1 || shape[2] != stack) {
    return Refuse(*tensor, absl::StrCat("has shape [", absl::StrJoin(shape, ", "), "], not [",
                                        columns, ", any, ", stack, "]"));
  }
  return Load(*tensor, stack * shape[1], columns);
}

absl::StatusOr<std::vector<float>> TensorLoader::HostVector(const std::string& name, int64_t size) {
  ASSIGN_OR_RETURN(const Tensor* tensor, Find(name, {size}));
  std::vector<float> values(size);
  Dequantize(tensor->type, tensor->data.data(), size, values.data());
  for (const float value : values) {
    if (!std::isfinite(value)) return Refuse(*tensor, "holds a value that is not finite");
  }
  return values;
}

absl::StatusOr<const float*> TensorLoader::Vector(const std::string& name, int64_t size) {
  ASSIGN_OR_RETURN(const std::vector<float> values, HostVector(name, size));
  const int64_t bytes = size * static_cast<int64_t>(sizeof(float));
  ASSIGN_OR_RETURN(DeviceBuffer buffer, device_.Allocate(bytes));
  device_.CopyToDevice(buffer.get(), values.data(), bytes);
  buffers_.push_back(std::move(buffer));
  return static_cast<const float*>(buffers_.back().get());
}

absl::StatusOr<int64_t> TensorLoader::VectorSize(const std::string& name) const {
  ASSIGN_OR_RETURN(const Tensor* tensor, Find(name));
  if (tensor->shape.size() != 1 || tensor->shape[0] < 1) return Refuse(*tensor, "is no vector");
  return tensor->shape[0];
}

absl::StatusOr<const Tensor*> TensorLoader::Find(const std::string& name) const {
  const Tensor* tensor = file_.Find(name);
  if (tensor != nullptr) return tensor;
  return absl::NotFoundError(absl::StrCat(file_.path(), ": tensor '", name, "' is missing"));
}

absl::StatusOr<const Tensor*> TensorLoader::Find(const std::string& name,
                                                 std::vector<int64_t> shape) const {
  ASSIGN_OR_RETURN(const Tensor* tensor, Find(name));
  if (tensor->shape == shape) return tensor;
  return Refuse(*tensor,
                absl::StrCat("has shape [", absl::StrJoin(tensor->shape, ", "),
                             "], the metadata ask for [", absl::StrJoin(shape, ", "), "]"));
}

absl::StatusOr<Weight> TensorLoader::Load(const Tensor& tensor, int64_t rows, int64_t columns) {
  if (columns % InfoOf(tensor.type).block_elements != 0) {
    return Refuse(tensor,
                  absl::StrCat("has rows that are no whole blocks of ", InfoOf(tensor.type).name));
  }
  return device_.LoadWeight(tensor.type, rows, columns, tensor.data.data());
}

absl::Status TensorLoader::Refuse(const Tensor& tensor, const std::string& what) const {
  return absl::InvalidArgumentError(
      absl::StrCat(file_.path(), ": tensor '", tensor.name, "' ", what));
}

}  // namespace facet
