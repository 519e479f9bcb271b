#ifndef FACET_MODEL_MAPPED_FILE_H_
#define FACET_MODEL_MAPPED_FILE_H_

#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace facet {

// A whole file mapped read-only and shared, so that processes that serve one model hold its bytes
// once. Pages come in on first touch. Immutable, thread-safe; the mapping lives as long as this.
class MappedFile {
 public:
  // NOT_FOUND, PERMISSION_DENIED or INVALID_ARGUMENT (a folder, an empty file) names the path.
  static absl::StatusOr<std::unique_ptr<MappedFile>> Open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  absl::string_view bytes() const { return {data_, size_}; }
  // Gives back the memory of whole pages of `part`; they come in again on the next touch. Does
  // nothing to what lies outside of this file.
  void Release(absl::string_view part) const;

 private:
  MappedFile(const char* data, size_t size) : data_(data), size_(size) {}

  const char* data_;  // host, mapped
  size_t size_;
};

}  // namespace facet

#endif  // FACET_MODEL_MAPPED_FILE_H_
