#include "ops/cli/hub/hub_download.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <map>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "ops/cli/hub/hub_digest.h"

namespace facet {
namespace {

constexpr size_t kReadBytes = 1 << 20;

std::string PartPath(const std::string& path) { return path + ".part"; }

// -1 if there is none.
int64_t SizeOf(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode) ? info.st_size : -1;
}

// A file that grows, beside the digest of what it holds.
class PartFile {
 public:
  PartFile(const HubFile& file, std::string path)
      : file_(file), path_(std::move(path)), digest_(file) {}
  ~PartFile() {
    if (descriptor_ >= 0) close(descriptor_);
  }

  absl::Status Open() {
    descriptor_ = open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (descriptor_ < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot create ", path_));
    if (flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
      return absl::AlreadyExistsError(
          absl::StrCat("another process downloads ", path_, ": wait for it, or end it"));
    }
    return absl::OkStatus();
  }

  // Takes what the file holds already as the beginning; what cannot be is thrown away.
  absl::Status Resume() {
    const int64_t size = SizeOf(path_);
    if (size > static_cast<int64_t>(file_.size_bytes)) return Clear();
    std::vector<char> bytes(kReadBytes);
    while (size_ < static_cast<uint64_t>(size)) {
      const ssize_t count = pread(descriptor_, bytes.data(), bytes.size(), size_);
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot read ", path_));
      digest_.Add(absl::string_view(bytes.data(), count));
      size_ += count;
    }
    return absl::OkStatus();
  }

  absl::Status Clear() {
    if (ftruncate(descriptor_, 0) != 0) {
      return absl::ErrnoToStatus(errno, absl::StrCat("cannot empty ", path_));
    }
    size_ = 0;
    digest_ = HubDigest(file_);
    return absl::OkStatus();
  }

  absl::Status Append(absl::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t count = pwrite(descriptor_, bytes.data(), bytes.size(), size_);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot write ", path_));
      digest_.Add(bytes.substr(0, count));
      size_ += count;
      bytes.remove_prefix(count);
    }
    return absl::OkStatus();
  }

  // To be called when the file is whole: gives it its name, or says that its digest is wrong.
  absl::Status Finish(const std::string& name) {
    RETURN_IF_ERROR(digest_.Check());
    if (fsync(descriptor_) != 0) {
      return absl::ErrnoToStatus(errno, absl::StrCat("cannot sync ", path_));
    }
    if (std::rename(path_.c_str(), name.c_str()) != 0) {
      return absl::ErrnoToStatus(errno, absl::StrCat("cannot rename ", path_));
    }
    return absl::OkStatus();
  }

  uint64_t size() const { return size_; }

 private:
  const HubFile& file_;
  const std::string path_;
  HubDigest digest_;
  int descriptor_ = -1;
  uint64_t size_ = 0;  // whose bytes the digest has taken
};

// Puts an answer behind what the part file holds.
class PartReader : public HttpAnswerReader {
 public:
  PartReader(const HubFile& file, PartFile& part, const std::function<void(uint64_t)>& heard)
      : file_(file), part_(part), heard_(heard) {}

  absl::Status OnHead(const HttpAnswerHead& head) override {
    if (head.status == 206) return CheckRange(head.Header("content-range"));
    if (head.status == 416) {
      RETURN_IF_ERROR(part_.Clear());
      return absl::UnavailableError(
          absl::StrCat("the hub has no such part of ", file_.path, ": from the beginning again"));
    }
    // The whole file, whether we asked for it or for a part.
    RETURN_IF_ERROR(part_.Clear());
    const std::string length = head.Header("content-length");
    if (length.empty() || length == absl::StrCat(file_.size_bytes)) return absl::OkStatus();
    return absl::DataLossError(absl::StrCat("the hub lists ", file_.size_bytes, " bytes of ",
                                            file_.path, " and sends ", length));
  }

  absl::Status OnBody(absl::string_view piece) override {
    if (piece.size() > file_.size_bytes - part_.size()) {
      return absl::DataLossError(absl::StrCat("the hub lists ", file_.size_bytes, " bytes of ",
                                              file_.path, " and sends more"));
    }
    RETURN_IF_ERROR(part_.Append(piece));
    heard_(part_.size());
    return absl::OkStatus();
  }

 private:
  absl::Status CheckRange(absl::string_view range) {
    const std::string expected = absl::StrCat("bytes ", part_.size(), "-");
    if (absl::StartsWith(range, expected) &&
        (absl::EndsWith(range, absl::StrCat("/", file_.size_bytes)) ||
         absl::EndsWith(range, "/*"))) {
      return absl::OkStatus();
    }
    const std::string message = absl::StrCat("the hub answers '", range.substr(0, 100),
                                             "' for bytes ", part_.size(), "- of ", file_.path);
    RETURN_IF_ERROR(part_.Clear());
    return absl::UnavailableError(message);
  }

  const HubFile& file_;
  PartFile& part_;
  const std::function<void(uint64_t)>& heard_;
};

// One connection's worth. Ends OK when the part file is whole, whatever its digest.
absl::Status BlockingTry(HubClient& client, absl::string_view target, const HubFile& file,
                         PartFile& part, const std::function<void(uint64_t)>& heard) {
  if (part.size() == file.size_bytes) return absl::OkStatus();
  std::map<std::string, std::string> headers;
  if (part.size() > 0) headers["Range"] = absl::StrCat("bytes=", part.size(), "-");
  PartReader reader(file, part, heard);
  const absl::Status status = client.BlockingGet(target, headers, reader);
  if (absl::IsDataLoss(status)) RETURN_IF_ERROR(part.Clear());
  if (part.size() == file.size_bytes) return absl::OkStatus();
  if (!status.ok()) return status;
  return absl::UnavailableError(absl::StrCat("the hub ends ", file.path, " after ", part.size(),
                                             " of ", file.size_bytes, " bytes"));
}

absl::Status BlockingFetch(HubClient& client, absl::string_view target, const HubFile& file,
                           PartFile& part, const std::function<void(uint64_t)>& heard) {
  return client.BlockingRetry([&](bool* progressed) {
    const uint64_t before = part.size();
    const absl::Status status = BlockingTry(client, target, file, part, heard);
    *progressed = part.size() > before;
    return status;
  });
}

absl::StatusOr<bool> IsRight(const HubFile& file, const std::string& path) {
  if (SizeOf(path) != static_cast<int64_t>(file.size_bytes)) return false;
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot open ", path));
  const absl::Cleanup close_descriptor = [descriptor] { close(descriptor); };
  HubDigest digest(file);
  std::vector<char> bytes(kReadBytes);
  for (;;) {
    const ssize_t count = read(descriptor, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot read ", path));
    if (count == 0) return digest.Check().ok();
    digest.Add(absl::string_view(bytes.data(), count));
  }
}

}  // namespace

uint64_t BytesPresent(const HubFile& file, const std::string& path) {
  const auto size = static_cast<int64_t>(file.size_bytes);
  const int64_t whole = SizeOf(path), part = SizeOf(PartPath(path));
  if (whole == size) return file.size_bytes;
  return part < 0 || part > size ? 0 : static_cast<uint64_t>(part);
}

absl::Status BlockingDownload(HubClient& client, absl::string_view target, const HubFile& file,
                              const std::string& path,
                              const std::function<void(uint64_t bytes)>& heard) {
  ASSIGN_OR_RETURN(const bool right, IsRight(file, path));
  if (right) {
    heard(file.size_bytes);
    return absl::OkStatus();
  }
  PartFile part(file, PartPath(path));
  RETURN_IF_ERROR(part.Open());
  RETURN_IF_ERROR(part.Resume());
  const bool resumed = part.size() > 0;
  heard(part.size());
  RETURN_IF_ERROR(BlockingFetch(client, target, file, part, heard));
  absl::Status status = part.Finish(path);
  if (absl::IsDataLoss(status)) {
    RETURN_IF_ERROR(part.Clear());
    // The beginning may be of another revision, or of a disk that lost it.
    if (resumed) {
      std::fprintf(stderr, "%s; from the beginning again\n", std::string(status.message()).c_str());
      RETURN_IF_ERROR(BlockingFetch(client, target, file, part, heard));
      status = part.Finish(path);
      if (absl::IsDataLoss(status)) RETURN_IF_ERROR(part.Clear());
    }
  }
  return status;
}

}  // namespace facet
