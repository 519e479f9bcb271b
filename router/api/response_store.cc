#include "router/api/response_store.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "router/api/answer_parts.h"
#include "router/api/api_error.h"

namespace facet {
namespace {

namespace fs = std::filesystem;

constexpr char kSuffix[] = ".json";
constexpr int kIdBytesMax = 64;
// Of the bounds: how much is added between two looks at the folder, and the most of one response.
constexpr int kSharesBetweenLooks = 8;
constexpr int kSharesOfOne = 16;

// Ids become file names, so nothing but what NewAnswerId makes is looked for.
bool IsId(const std::string& id) {
  return absl::StartsWith(id, "resp_") && id.size() <= kIdBytesMax &&
         std::all_of(id.begin() + 5, id.end(), [](char c) { return absl::ascii_isxdigit(c); });
}

absl::Status NotFound(const std::string& id) {
  return WithParam(absl::NotFoundError(absl::StrCat("The response `", id,
                                                    "` is not kept here: it never was, or it was "
                                                    "deleted or pushed out by newer ones.")),
                   "previous_response_id", "previous_response_not_found");
}

}  // namespace

std::string ResponseStore::PathOf(const std::string& id) const {
  return absl::StrCat(options_.folder, "/", id, kSuffix);
}

absl::Status ResponseStore::Put(const std::string& id, absl::string_view text) {
  if (!enabled()) return absl::FailedPreconditionError("no --response_dir was given");
  const int64_t size = static_cast<int64_t>(text.size());
  if (size > options_.bytes_max / kSharesOfOne) {
    return absl::ResourceExhaustedError(absl::StrCat("the response has ", size, " bytes"));
  }
  std::error_code error;
  fs::create_directories(options_.folder, error);
  // Another name first, so that nobody reads a part of it.
  const std::string part = absl::StrCat(options_.folder, "/", NewAnswerId("part_"));
  std::ofstream file(part, std::ios::binary);
  file.write(text.data(), size);
  file.close();
  if (file.good()) fs::rename(part, PathOf(id), error);
  if (!file.good() || error) {
    fs::remove(part, error);
    return absl::UnavailableError(absl::StrCat("cannot write to ", options_.folder));
  }
  absl::MutexLock lock(&mutex_);
  added_bytes_ += size;
  if (added_count_ < 0 || ++added_count_ * kSharesBetweenLooks >= options_.count_max ||
      added_bytes_ * kSharesBetweenLooks >= options_.bytes_max) {
    RemoveOldest();
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ResponseStore::Get(const std::string& id) const {
  if (!enabled() || !IsId(id)) return NotFound(id);
  std::ifstream file(PathOf(id), std::ios::binary);
  if (!file.is_open()) return NotFound(id);
  return std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

absl::Status ResponseStore::Remove(const std::string& id) {
  std::error_code error;
  if (!enabled() || !IsId(id) || !fs::remove(PathOf(id), error) || error) return NotFound(id);
  return absl::OkStatus();
}

// What others remove at the same time is no error. Parts that a killed router left go as they age.
void ResponseStore::RemoveOldest() {
  struct File {
    fs::file_time_type time;
    int64_t bytes;
    fs::path path;
  };
  std::vector<File> files;
  int64_t bytes = 0;
  std::error_code error;
  for (fs::directory_iterator at(options_.folder, error), end; !error && at != end;
       at.increment(error)) {
    const std::string name = at->path().filename().string();
    if (!absl::StartsWith(name, "resp_") && !absl::StartsWith(name, "part_")) continue;
    std::error_code gone;
    const File file{at->last_write_time(gone), static_cast<int64_t>(at->file_size(gone)),
                    at->path()};
    if (gone) continue;
    bytes += file.bytes;
    files.push_back(file);
  }
  std::sort(files.begin(), files.end(),
            [](const File& a, const File& b) { return a.time < b.time; });
  size_t count = files.size();
  for (const File& file : files) {
    if (count <= static_cast<size_t>(options_.count_max) && bytes <= options_.bytes_max) break;
    fs::remove(file.path, error);
    --count;
    bytes -= file.bytes;
  }
  added_count_ = 0;
  added_bytes_ = 0;
}

}  // namespace facet
