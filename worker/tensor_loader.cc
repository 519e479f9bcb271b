#include "worker/tensor_loader.h"

#include <cmath>
#include <cstring>
#include <memory>
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

absl::StatusOr<Weight> TensorLoader::MatrixRows(const std::string& name, int64_t rows,
                                                int64_t columns, const Slice& part) {
  ASSIGN_OR_RETURN(const Tensor* tensor, Find(name, {columns, rows}));
  RETURN_IF_ERROR(CheckBlocks(*tensor, columns));
  return device_.LoadWeight(tensor->type, part.size(), columns,
                            tensor->data.data() + part.begin * RowBytes(tensor->type, columns));
}

absl::StatusOr<Weight> TensorLoader::MatrixColumns(const std::string& name, int64_t rows,
                                                   int64_t columns, const Slice& part) {
  ASSIGN_OR_RETURN(const Tensor* tensor, Find(name, {columns, rows}));
  if (part.size() == columns) return Load(*tensor, rows, columns);
  RETURN_IF_ERROR(CheckBlocks(*tensor, columns));
  const int64_t row_bytes = RowBytes(tensor->type, columns);
  const int64_t first_byte = RowBytes(tensor->type, part.begin);
  const int64_t part_bytes = RowBytes(tensor->type, part.size());
  auto copy = std::make_unique<char[]>(rows * part_bytes);
  for (int64_t row = 0; row < rows; ++row) {
    std::memcpy(&copy[row * part_bytes], tensor->data.data() + row * row_bytes + first_byte,
                part_bytes);
  }
  // What was read to copy it would else count as this process's memory.
  file_.Release(tensor->data);
  buffers_.push_back(DeviceBuffer(copy.release(), [](void* c) { delete[] static_cast<char*>(c); }));
  return device_.LoadWeight(tensor->type, rows, part.size(), buffers_.back().get());
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
  RETURN_IF_ERROR(CheckBlocks(tensor, columns));
  return device_.LoadWeight(tensor.type, rows, columns, tensor.data.data());
}

absl::Status TensorLoader::CheckBlocks(const Tensor& tensor, int64_t columns) const {
  if (columns % InfoOf(tensor.type).block_elements == 0) return absl::OkStatus();
  return Refuse(tensor,
                absl::StrCat("has rows that are no whole blocks of ", InfoOf(tensor.type).name));
}

absl::Status TensorLoader::Refuse(const Tensor& tensor, const std::string& what) const {
  return absl::InvalidArgumentError(
      absl::StrCat(file_.path(), ": tensor '", tensor.name, "' ", what));
}

}  // namespace facet
