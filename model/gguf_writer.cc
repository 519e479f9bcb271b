#include "model/gguf_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <type_traits>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace facet {
namespace {

constexpr uint64_t kAlignment = 32;

// GGUF's number for each C++ type that a value may have.
template <typename T>
constexpr uint32_t kTypeId = 8;  // string
template <>
constexpr uint32_t kTypeId<uint8_t> = 0;
template <>
constexpr uint32_t kTypeId<int8_t> = 1;
template <>
constexpr uint32_t kTypeId<uint16_t> = 2;
template <>
constexpr uint32_t kTypeId<int16_t> = 3;
template <>
constexpr uint32_t kTypeId<uint32_t> = 4;
template <>
constexpr uint32_t kTypeId<int32_t> = 5;
template <>
constexpr uint32_t kTypeId<float> = 6;
template <>
constexpr uint32_t kTypeId<bool> = 7;
template <>
constexpr uint32_t kTypeId<uint64_t> = 10;
template <>
constexpr uint32_t kTypeId<int64_t> = 11;
template <>
constexpr uint32_t kTypeId<double> = 12;
constexpr uint32_t kArrayTypeId = 9;

template <typename T>
void AppendNumber(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

void AppendString(std::string& out, absl::string_view text) {
  AppendNumber<uint64_t>(out, text.size());
  out.append(text.data(), text.size());
}

void AppendElement(std::string& out, const std::string& value) { AppendString(out, value); }
void AppendElement(std::string& out, bool value) { out.push_back(value ? 1 : 0); }
template <typename T>
void AppendElement(std::string& out, T value) {
  AppendNumber(out, value);
}

template <typename T>
void AppendValue(std::string& out, const T& value) {
  AppendNumber(out, kTypeId<T>);
  AppendElement(out, value);
}

template <typename T>
void AppendValue(std::string& out, const std::vector<T>& values) {
  AppendNumber(out, kArrayTypeId);
  AppendNumber(out, kTypeId<T>);
  AppendNumber<uint64_t>(out, values.size());
  for (const auto& value : values) AppendElement(out, static_cast<const T&>(value));
}

uint64_t Align(uint64_t offset) { return (offset + kAlignment - 1) / kAlignment * kAlignment; }

uint64_t SizeOf(const GgufTensorSource& tensor) {
  uint64_t bytes = RowBytes(tensor.type, tensor.shape[0]);
  for (size_t i = 1; i < tensor.shape.size(); ++i) bytes *= tensor.shape[i];
  return bytes;
}

std::string WriteHeader(const Metadata& metadata, const std::vector<GgufTensorSource>& tensors) {
  std::string out = "GGUF";
  AppendNumber<uint32_t>(out, 3);
  AppendNumber<uint64_t>(out, tensors.size());
  AppendNumber<uint64_t>(out, metadata.values().size());
  for (const auto& [key, value] : metadata.values()) {
    AppendString(out, key);
    std::visit([&](const auto& typed) { AppendValue(out, typed); }, value);
  }
  uint64_t offset = 0;
  for (const GgufTensorSource& tensor : tensors) {
    AppendString(out, tensor.name);
    AppendNumber<uint32_t>(out, tensor.shape.size());
    for (const int64_t axis : tensor.shape) AppendNumber<uint64_t>(out, axis);
    AppendNumber<uint32_t>(out, static_cast<uint32_t>(tensor.type));
    AppendNumber<uint64_t>(out, offset);
    offset += Align(SizeOf(tensor));
  }
  out.resize(Align(out.size()));
  return out;
}

uint64_t TensorBytes(const std::vector<GgufTensorSource>& tensors) {
  uint64_t bytes = 0;
  for (const GgufTensorSource& tensor : tensors) bytes += Align(SizeOf(tensor));
  return bytes;
}

absl::Status WriteAll(int descriptor, absl::string_view bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t written = write(descriptor, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot write ", path));
    bytes.remove_prefix(written);
  }
  return absl::OkStatus();
}

absl::Status WriteTensors(int descriptor, const std::string& path,
                          const std::vector<GgufTensorSource>& tensors,
                          const std::function<void(uint64_t, uint64_t)>& progress) {
  const uint64_t total = TensorBytes(tensors);
  uint64_t done = 0;
  for (const GgufTensorSource& tensor : tensors) {
    ASSIGN_OR_RETURN(std::string bytes, tensor.bytes());
    if (bytes.size() != SizeOf(tensor)) {
      return absl::InternalError(absl::StrCat("tensor '", tensor.name, "' gave ", bytes.size(),
                                              " bytes instead of ", SizeOf(tensor)));
    }
    bytes.resize(Align(bytes.size()));
    RETURN_IF_ERROR(WriteAll(descriptor, bytes, path));
    done += bytes.size();
    if (progress) progress(done, total);
  }
  return absl::OkStatus();
}

absl::Status WriteFile(const std::string& path, const Metadata& metadata,
                       const std::vector<GgufTensorSource>& tensors,
                       const std::function<void(uint64_t, uint64_t)>& progress) {
  const int descriptor = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (descriptor < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot create ", path));
  const absl::Cleanup close_descriptor = [descriptor] { close(descriptor); };
  RETURN_IF_ERROR(WriteAll(descriptor, WriteHeader(metadata, tensors), path));
  RETURN_IF_ERROR(WriteTensors(descriptor, path, tensors, progress));
  if (fsync(descriptor) != 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot sync ", path));
  return absl::OkStatus();
}

}  // namespace

std::string WriteGgufMetadata(const Metadata& metadata) { return WriteHeader(metadata, {}); }

uint64_t GgufBytes(const Metadata& metadata, const std::vector<GgufTensorSource>& tensors) {
  return WriteHeader(metadata, tensors).size() + TensorBytes(tensors);
}

absl::Status WriteGgufFile(const std::string& path, const Metadata& metadata,
                           const std::vector<GgufTensorSource>& tensors,
                           const std::function<void(uint64_t, uint64_t)>& progress) {
  const std::string partial = path + ".partial";
  if (absl::Status status = WriteFile(partial, metadata, tensors, progress); !status.ok()) {
    unlink(partial.c_str());
    return status;
  }
  if (std::rename(partial.c_str(), path.c_str()) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot rename ", partial));
  }
  return absl::OkStatus();
}

}  // namespace facet
