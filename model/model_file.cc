#include "model/model_file.h"

#include <sys/stat.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "model/gguf.h"
#include "model/gguf_writer.h"
#include "model/huggingface.h"

namespace facet {
namespace {

bool IsFolder(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

// Puts the path in front of what a parser said, which does not know it.
absl::Status InFile(const std::string& path, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(path, ": ", status.message()));
}

absl::Status ReadGguf(ModelFile& file) {
  ASSIGN_OR_RETURN(std::unique_ptr<MappedFile> mapped, MappedFile::Open(file.path()));
  const absl::string_view bytes = file.Own(std::move(mapped));
  absl::StatusOr<GgufHeader> header = ParseGguf(bytes);
  if (!header.ok()) return InFile(file.path(), header.status());
  file.mutable_metadata() = std::move(header->metadata);
  for (GgufTensorInfo& info : header->tensors) {
    RETURN_IF_ERROR(file.AddTensor({std::move(info.name), info.type, std::move(info.shape),
                                    bytes.substr(info.offset, info.size_bytes)}));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<ModelFile>> ModelFile::Open(const std::string& path) {
  auto file = std::make_unique<ModelFile>(path);
  RETURN_IF_ERROR(IsFolder(path) ? ReadHuggingFaceFolder(*file) : ReadGguf(*file));
  return file;
}

const Tensor* ModelFile::Find(absl::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

absl::Status ModelFile::AddTensor(Tensor tensor) {
  if (!index_.emplace(tensor.name, tensors_.size()).second) {
    return absl::InvalidArgumentError(
        absl::StrCat(path_, ": tensor '", tensor.name, "' stands twice"));
  }
  tensors_.push_back(std::move(tensor));
  return absl::OkStatus();
}

void ModelFile::Release(absl::string_view data) const {
  for (const std::unique_ptr<MappedFile>& file : files_) file->Release(data);
}

absl::string_view ModelFile::Own(std::unique_ptr<MappedFile> file) {
  files_.push_back(std::move(file));
  return files_.back()->bytes();
}

absl::string_view ModelFile::Own(std::string bytes) {
  buffers_.push_back(std::move(bytes));
  return buffers_.back();
}

absl::StatusOr<Metadata> ReadModelMetadata(const std::string& path) {
  if (IsFolder(path)) return ReadHuggingFaceMetadata(path);
  ASSIGN_OR_RETURN(const std::unique_ptr<MappedFile> mapped, MappedFile::Open(path));
  absl::StatusOr<GgufHeader> header = ParseGguf(mapped->bytes());
  if (!header.ok()) return InFile(path, header.status());
  return std::move(header->metadata);
}

std::string ModelDigest(const ModelFile& file) {
  std::string text = WriteGgufMetadata(file.metadata());
  for (const Tensor& tensor : file.tensors()) {
    absl::StrAppend(&text, tensor.name, " ", InfoOf(tensor.type).name, " ",
                    absl::StrJoin(tensor.shape, "x"), "\n");
  }
  return Sha256({text});
}

}  // namespace facet
