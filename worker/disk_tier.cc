#include "worker/disk_tier.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <tuple>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/cleanup/cleanup.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/check.h"
#include "base/log.h"
#include "base/sha256.h"

namespace facet {
namespace {

constexpr absl::string_view kMagic = "facet kv";
constexpr uint32_t kVersion = 1;
constexpr int kDigestBytes = kSha256Bytes;
// Magic, version and pool, label, key, length.
constexpr int kHeaderBytes = 8 + 4 + 4 + kDigestBytes + 16 + 8;
constexpr absl::string_view kSuffix = ".page";
constexpr absl::string_view kAsideSuffix = ".aside";  // of a file that is being written
constexpr const char* kFaultNames[] = {"access", "write", "torn", "corrupt", "foreign"};
static_assert(std::size(kFaultNames) == kDiskFaultKinds, "each kind has a name");

void AppendNumber(std::string& out, uint64_t number, int bytes) {
  for (int i = 0; i < bytes; ++i) out.push_back(static_cast<char>(number >> (8 * i)));
}

std::string NameOf(const PoolKey& key) {
  const absl::string_view bytes(reinterpret_cast<const char*>(key.second.data()),
                                key.second.size());
  return absl::StrCat(key.first == KvPool::kFull ? "full-" : "sliding-",
                      absl::BytesToHexString(bytes), kSuffix);
}

bool ParseName(absl::string_view name, PoolKey* key) {
  if (!absl::ConsumeSuffix(&name, kSuffix)) return false;
  key->first = absl::ConsumePrefix(&name, "full-") ? KvPool::kFull : KvPool::kSliding;
  if (key->first == KvPool::kSliding && !absl::ConsumePrefix(&name, "sliding-")) return false;
  const bool hex = std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
  });
  if (!hex || name.size() != 2 * key->second.size()) return false;
  const std::string bytes = absl::HexStringToBytes(name);
  std::copy(bytes.begin(), bytes.end(), key->second.begin());
  return true;
}

// Reads until `size` or the end: how much came, or -1 with errno.
int64_t ReadAll(int file, void* to, int64_t size) {
  int64_t done = 0;
  while (done < size) {
    const ssize_t got = read(file, static_cast<char*>(to) + done, size - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return -1;
    if (got == 0) break;
    done += got;
  }
  return done;
}

bool WriteAll(int file, absl::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t done = write(file, bytes.data(), bytes.size());
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return false;
    bytes.remove_prefix(done);
  }
  return true;
}

}  // namespace

DiskTier::DiskTier(const DiskTierOptions& options)
    : options_(options), label_(Sha256({options.label})) {
  folder_ = absl::StrCat(options_.folder, "/",
                         absl::BytesToHexString(label_.substr(0, kDigestBytes / 2)));
  Scan();
}

DiskTier::~DiskTier() {
  BlockingStop();
  const DiskTierStats end = stats();
  LogInfo("disk tier closed", {{"folder", folder_},
                               {"pages", end.pages},
                               {"bytes", end.bytes},
                               {"reads", end.reads},
                               {"writes", end.writes},
                               {"evictions", end.evictions},
                               {"faults", absl::c_accumulate(end.faults, int64_t{0})}});
}

void DiskTier::Scan() {
  std::error_code error;
  std::filesystem::create_directories(folder_, error);
  DIR* folder = error ? nullptr : opendir(folder_.c_str());
  if (folder == nullptr) {
    CountFault(DiskFault::kAccess, error ? error.message() : std::strerror(errno), folder_);
    return;
  }
  const auto close = absl::MakeCleanup([folder] { closedir(folder); });
  std::vector<std::tuple<int64_t, int64_t, PoolKey, int64_t>> found;  // last use first
  while (const dirent* entry = readdir(folder)) {
    PoolKey key;
    struct stat info;
    if (absl::EndsWith(entry->d_name, kAsideSuffix)) {
      unlinkat(dirfd(folder), entry->d_name, 0);
    } else if (ParseName(entry->d_name, &key) &&
               fstatat(dirfd(folder), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) == 0) {
      found.emplace_back(info.st_mtim.tv_sec, info.st_mtim.tv_nsec, key, info.st_size);
    }
  }
  std::sort(found.begin(), found.end());
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [seconds, nanoseconds, key, bytes] : found) Remember(key, bytes);
  }
  MakeRoom(0);
  const DiskTierStats now = stats();
  LogInfo("disk tier opened", {{"folder", folder_}, {"pages", now.pages}, {"bytes", now.bytes}});
}

void DiskTier::SetObserver(Observer observer) {
  absl::MutexLock lock(&mutex_);
  observer_ = std::move(observer);
  for (const auto& [key, file] : files_) observer_(key, /*stored=*/true);
}

void DiskTier::Start(std::function<void()> on_completed) {
  on_completed_ = std::move(on_completed);
  thread_ = std::thread([this] { Loop(); });
}

void DiskTier::BlockingStop() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  if (thread_.joinable()) thread_.join();
  absl::MutexLock lock(&mutex_);
  for (std::deque<Operation>* queue : {&reads_, &writes_}) {
    completed_.insert(completed_.end(), queue->begin(), queue->end());
    queue->clear();
  }
  stopping_ = false;
}

void DiskTier::Loop() {
  const auto has_work = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return stopping_ || !reads_.empty() || !writes_.empty();
  };
  while (true) {
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(&has_work));
      if (stopping_) return;
    }
    RunOnce();
    on_completed_();
  }
}

bool DiskTier::RunOnce() {
  Operation operation;
  if (!TakeOperation(&operation)) return false;
  operation.ok = operation.kind == Operation::kRead ? Read(operation) : Write(operation);
  Complete(operation);
  return true;
}

bool DiskTier::TakeOperation(Operation* operation) {
  absl::MutexLock lock(&mutex_);
  std::deque<Operation>& queue = reads_.empty() ? writes_ : reads_;
  if (queue.empty()) return false;
  *operation = queue.front();
  queue.pop_front();
  busy_ = true;
  return true;
}

void DiskTier::Complete(const Operation& operation) {
  absl::MutexLock lock(&mutex_);
  busy_ = false;
  completed_.push_back(operation);
  if (operation.ok) ++(operation.kind == Operation::kRead ? stats_.reads : stats_.writes);
}

bool DiskTier::Has(const PoolKey& key) const {
  absl::MutexLock lock(&mutex_);
  return files_.contains(key);
}

bool DiskTier::HasRoomToWrite() const {
  absl::MutexLock lock(&mutex_);
  return static_cast<int>(writes_.size()) < options_.queued_writes_max;
}

bool DiskTier::Enqueue(const Operation& operation) {
  absl::MutexLock lock(&mutex_);
  if (operation.kind == Operation::kRead) {
    reads_.push_back(operation);
    return true;
  }
  if (static_cast<int>(writes_.size()) >= options_.queued_writes_max) {
    ++stats_.refused_writes;
    return false;
  }
  writes_.push_back(operation);
  return true;
}

std::vector<DiskTier::Operation> DiskTier::TakeCompleted() {
  absl::MutexLock lock(&mutex_);
  return std::exchange(completed_, {});
}

bool DiskTier::has_completed() const {
  absl::MutexLock lock(&mutex_);
  return !completed_.empty();
}

void DiskTier::BlockingRunUntilCompleted(absl::Time deadline) {
  if (!thread_.joinable()) {
    RunOnce();
    return;
  }
  const auto completed = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return !completed_.empty() || (reads_.empty() && writes_.empty() && !busy_);
  };
  absl::MutexLock lock(&mutex_);
  mutex_.AwaitWithDeadline(absl::Condition(&completed), deadline);
}

double DiskTier::read_bytes_per_s() const {
  absl::MutexLock lock(&mutex_);
  return read_rate_.per_s();
}

DiskTierStats DiskTier::stats() const {
  absl::MutexLock lock(&mutex_);
  return stats_;
}

std::string DiskTier::PathOf(const PoolKey& key) const {
  return absl::StrCat(folder_, "/", NameOf(key));
}

std::string DiskTier::Header(const PoolKey& key) const {
  std::string header(kMagic);
  AppendNumber(header, kVersion, 4);
  AppendNumber(header, static_cast<uint64_t>(key.first), 4);
  header += label_;
  header.append(reinterpret_cast<const char*>(key.second.data()), key.second.size());
  AppendNumber(header, static_cast<uint64_t>(page_bytes(key.first)), 8);
  CHECK_EQ(header.size(), size_t{kHeaderBytes});
  return header;
}

bool DiskTier::Read(const Operation& operation) {
  const absl::Time begin = options_.clock();
  const std::string path = PathOf(operation.key);
  // Whatever is wrong with a file, it is of no use again: forgotten now, and removed.
  absl::Cleanup remove = [&] {
    unlink(path.c_str());
    absl::MutexLock lock(&mutex_);
    Forget(operation.key);
  };
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) {
    // Gone is no fault: room was needed, by us or by another process.
    if (errno != ENOENT) CountFault(DiskFault::kAccess, std::strerror(errno), path);
    return false;
  }
  const auto close_file = absl::MakeCleanup([file] { close(file); });
  const int64_t bytes = page_bytes(operation.key.first);
  char header[kHeaderBytes], digest[kDigestBytes + 1];
  const int64_t header_got = ReadAll(file, header, kHeaderBytes);
  if (header_got == kHeaderBytes &&
      absl::string_view(header, kHeaderBytes) != Header(operation.key)) {
    CountFault(DiskFault::kForeign, "its header is not that of the page", path);
    return false;
  }
  const int64_t contents_got = ReadAll(file, operation.memory, bytes);
  // One byte more than there should be tells a file that is too long.
  const int64_t digest_got = ReadAll(file, digest, sizeof(digest));
  if (header_got < 0 || contents_got < 0 || digest_got < 0) {
    CountFault(DiskFault::kAccess, std::strerror(errno), path);
    return false;
  }
  if (header_got != kHeaderBytes || contents_got != bytes || digest_got != kDigestBytes) {
    CountFault(DiskFault::kTorn, "it has not the length of a page", path);
    return false;
  }
  const absl::string_view contents(reinterpret_cast<const char*>(operation.memory), bytes);
  if (Sha256({absl::string_view(header, kHeaderBytes), contents}) !=
      absl::string_view(digest, kDigestBytes)) {
    CountFault(DiskFault::kCorrupt, "its contents do not fit their checksum", path);
    return false;
  }
  std::move(remove).Cancel();
  futimens(file, nullptr);  // for the order of use after a restart
  absl::MutexLock lock(&mutex_);
  Remember(operation.key, bytes + kHeaderBytes + kDigestBytes);
  read_rate_.Add(static_cast<double>(bytes), options_.clock() - begin);
  return true;
}

bool DiskTier::Write(const Operation& operation) {
  const int64_t bytes = page_bytes(operation.key.first);
  const int64_t file_bytes = bytes + kHeaderBytes + kDigestBytes;
  if (!MakeRoom(file_bytes)) return false;
  const std::string path = PathOf(operation.key);
  // Two processes that share the folder may write one page at the same time.
  const std::string aside = absl::StrCat(path, ".", getpid(), kAsideSuffix);
  const int file = open(aside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (file < 0) {
    CountFault(DiskFault::kAccess, std::strerror(errno), aside);
    return false;
  }
  const std::string header = Header(operation.key);
  const absl::string_view contents(reinterpret_cast<const char*>(operation.memory), bytes);
  bool written = WriteAll(file, header) && WriteAll(file, contents) &&
                 WriteAll(file, Sha256({header, contents}));
  int error = errno;
  // A full disk may be told only now.
  if (close(file) != 0 && written) {
    written = false;
    error = errno;
  }
  if (written && rename(aside.c_str(), path.c_str()) != 0) {
    written = false;
    error = errno;
  }
  if (!written) {
    unlink(aside.c_str());
    CountFault(DiskFault::kWrite, std::strerror(error), path);
    return false;
  }
  absl::MutexLock lock(&mutex_);
  Remember(operation.key, file_bytes);
  return true;
}

void DiskTier::Remember(const PoolKey& key, int64_t bytes) {
  const bool known = Erase(key);
  files_[key] = {bytes, ++uses_};
  by_use_[uses_] = key;
  ++stats_.pages;
  stats_.bytes += bytes;
  if (!known && observer_) observer_(key, /*stored=*/true);
}

void DiskTier::Forget(const PoolKey& key) {
  if (Erase(key) && observer_) observer_(key, /*stored=*/false);
}

bool DiskTier::Erase(const PoolKey& key) {
  const auto found = files_.find(key);
  if (found == files_.end()) return false;
  --stats_.pages;
  stats_.bytes -= found->second.bytes;
  by_use_.erase(found->second.last_used);
  files_.erase(found);
  return true;
}

bool DiskTier::MakeRoom(int64_t bytes) {
  if (bytes > options_.bytes_max) return false;
  while (true) {
    PoolKey oldest;
    {
      absl::MutexLock lock(&mutex_);
      if (stats_.bytes + bytes <= options_.bytes_max) return true;
      CHECK(!by_use_.empty());
      oldest = by_use_.begin()->second;
      Forget(oldest);
      ++stats_.evictions;
    }
    unlink(PathOf(oldest).c_str());
  }
}

void DiskTier::CountFault(DiskFault kind, absl::string_view what, const std::string& path) {
  int64_t count;
  {
    absl::MutexLock lock(&mutex_);
    count = ++stats_.faults[static_cast<int>(kind)];
  }
  if (count > 1) return;
  LogWarning("disk tier: a page is lost and will be computed; more of this kind are only counted",
             {{"kind", kFaultNames[static_cast<int>(kind)]}, {"what", what}, {"path", path}});
}

}  // namespace facet
