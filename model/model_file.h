#ifndef FACET_MODEL_MODEL_FILE_H_
#define FACET_MODEL_MODEL_FILE_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/tensor_type.h"
#include "model/mapped_file.h"
#include "model/metadata.h"

namespace facet {

// One stored tensor, under its GGUF name.
struct Tensor {
  std::string name;
  TensorType type;
  std::vector<int64_t> shape;  // fastest axis first: a matrix is [columns, rows]
  absl::string_view data;      // host, mapped: rows one after the other
};

// A model as it lies on disk, in one form whatever the source: metadata under GGUF's keys and
// tensors under GGUF's names. A GGUF file holds just that; a Hugging Face folder is converted
// (huggingface.h) without copying a tensor. Immutable once opened, then thread-safe. Owns the
// mappings that the tensors point into.
class ModelFile {
 public:
  // `path` is a GGUF file, or a folder with config.json and safetensors.
  static absl::StatusOr<std::unique_ptr<ModelFile>> Open(const std::string& path);

  const std::string& path() const { return path_; }
  const Metadata& metadata() const { return metadata_; }
  const std::vector<Tensor>& tensors() const { return tensors_; }
  // Null if absent.
  const Tensor* Find(absl::string_view name) const;

  // Gives back memory that was touched to read `data` once, if that is mapped.
  void Release(absl::string_view data) const;

  // For the readers that fill one.
  explicit ModelFile(std::string path) : path_(std::move(path)) {}
  Metadata& mutable_metadata() { return metadata_; }
  // INVALID_ARGUMENT if the name stands already.
  absl::Status AddTensor(Tensor tensor);
  absl::string_view Own(std::unique_ptr<MappedFile> file);
  absl::string_view Own(std::string bytes);

 private:
  const std::string path_;
  Metadata metadata_;
  std::vector<Tensor> tensors_;
  absl::flat_hash_map<std::string, size_t> index_;
  std::vector<std::unique_ptr<MappedFile>> files_;
  std::deque<std::string> buffers_;
};

// Only the metadata of `path`, for tools that need the tokenizer alone: a GGUF file, or a folder
// with at least a tokenizer.json.
absl::StatusOr<Metadata> ReadModelMetadata(const std::string& path);

// SHA-256 over the metadata and the name, type and shape of each tensor, 32 bytes. Two files with
// equal digests have the same form; it says nothing about the weights' bytes.
std::string ModelDigest(const ModelFile& file);

}  // namespace facet

#endif  // FACET_MODEL_MODEL_FILE_H_
