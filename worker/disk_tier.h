#ifndef FACET_WORKER_DISK_TIER_H_
#define FACET_WORKER_DISK_TIER_H_

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "proto/page_key.h"
#include "worker/prefix_cache.h"
#include "worker/tier_decision.h"

namespace facet {

struct DiskTierOptions {
  std::string folder;  // pages lie in a folder of this one, named by the label
  // What the contents of a page depend on beside its key: model, numerics class, layout. Pages of
  // another label are never used.
  std::string label;
  int64_t bytes_max = 0;       // of this label's files; the least recently used go first
  int64_t page_bytes[2] = {};  // by pool
  int queued_writes_max = 64;  // pages; one more is refused
  std::function<absl::Time()> clock = absl::Now;
};

// What went wrong, by kind. Each kind is logged once; the page counts as absent and is computed.
enum class DiskFault {
  kAccess,   // a file or the folder cannot be opened, listed or made: no permission, no such folder
  kWrite,    // a page cannot be written: the disk is full
  kTorn,     // a file ends too early, or goes on too long
  kCorrupt,  // the checksum does not fit the contents
  kForeign,  // another version, label, pool or key than the file's name and folder say
};
inline constexpr int kDiskFaultKinds = 5;

struct DiskTierStats {
  int64_t pages = 0, bytes = 0;  // there now
  int64_t reads = 0, writes = 0, evictions = 0;
  int64_t refused_writes = 0;  // the queue was full
  std::array<int64_t, kDiskFaultKinds> faults = {};
  int64_t fault(DiskFault kind) const { return faults[static_cast<int>(kind)]; }
};

// Pages in files of a local disk, one file each, found again after a restart. One file a page,
// because pages are large (2 to 42 MB for the 12B), come and go one by one, and what a crash or a
// bad sector breaks is then one page.
//
// A file is a header (magic, version, pool, label, key, length), the contents, and SHA-256 over
// both; it is written aside and renamed, so a name is whole unless the machine itself stops, and a
// checksum tells that. What is there is found by names when the tier is opened; contents are
// checked when they are read, and a file that does not fit is removed.
//
// One thread of its own does all I/O, reads before writes (somebody waits for a read), or whoever
// calls RunOnce. Everything else is the engine's thread's, and only looks or enqueues. A page's
// memory is the caller's, and must stay until its completion was taken.
// Several processes may share a folder: what one removes, another finds absent.
class DiskTier {
 public:
  // Makes the folder and looks what is there. Never fails: without a usable folder nothing is found
  // or kept, which is counted and logged.
  explicit DiskTier(const DiskTierOptions& options);
  ~DiskTier();
  DiskTier(const DiskTier&) = delete;
  DiskTier& operator=(const DiskTier&) = delete;

  // Hears of each page that is there now, and of those that come and go later. On the thread that
  // does I/O, under a lock: only enqueue. REQUIRES: the thread does not run yet.
  using Observer = std::function<void(const PoolKey& key, bool stored)>;
  void SetObserver(Observer observer) ABSL_LOCKS_EXCLUDED(mutex_);

  // Starts the thread. `on_completed` is called on it after each operation: only enqueue.
  void Start(std::function<void()> on_completed);
  // Ends the thread after the operation that runs; what is still queued completes as failed.
  void BlockingStop();
  // Does one queued operation; false if there is none. REQUIRES: the thread does not run.
  bool RunOnce() ABSL_LOCKS_EXCLUDED(mutex_);

  bool Has(const PoolKey& key) const ABSL_LOCKS_EXCLUDED(mutex_);

  struct Operation {
    enum Kind { kRead, kWrite };
    Kind kind;
    PoolKey key;
    int32_t tag;      // the caller's own
    int depth;        // the caller's own
    uint8_t* memory;  // page_bytes of the pool
    bool ok = false;  // set when completed
  };
  // Room for one more write.
  bool HasRoomToWrite() const ABSL_LOCKS_EXCLUDED(mutex_);
  // False: no room to write, which is counted; the memory is not used. Reads always have room: each
  // has memory, which is bounded already.
  bool Enqueue(const Operation& operation) ABSL_LOCKS_EXCLUDED(mutex_);
  // What was completed since the last call, in order. Reads complete in the order of their
  // enqueueing.
  std::vector<Operation> TakeCompleted() ABSL_LOCKS_EXCLUDED(mutex_);
  bool has_completed() const ABSL_LOCKS_EXCLUDED(mutex_);
  // Runs or waits until an operation completes, or none is left, or `deadline`.
  void BlockingRunUntilCompleted(absl::Time deadline) ABSL_LOCKS_EXCLUDED(mutex_);

  double read_bytes_per_s() const ABSL_LOCKS_EXCLUDED(mutex_);
  DiskTierStats stats() const ABSL_LOCKS_EXCLUDED(mutex_);
  // Where a page's file is or would be.
  std::string PathOf(const PoolKey& key) const;

 private:
  struct File {
    int64_t bytes;
    uint64_t last_used;
  };

  void Loop();
  void Scan();
  bool TakeOperation(Operation* operation) ABSL_LOCKS_EXCLUDED(mutex_);
  void Complete(const Operation& operation) ABSL_LOCKS_EXCLUDED(mutex_);
  bool Read(const Operation& operation);
  bool Write(const Operation& operation);
  // The file's bytes before the contents.
  std::string Header(const PoolKey& key) const;
  int64_t page_bytes(KvPool pool) const { return options_.page_bytes[static_cast<int>(pool)]; }

  void Remember(const PoolKey& key, int64_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Forget(const PoolKey& key) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool Erase(const PoolKey& key) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);  // whether it was there
  // Removes what was used longest ago until `bytes` more fit. False: they never do.
  bool MakeRoom(int64_t bytes) ABSL_LOCKS_EXCLUDED(mutex_);
  void CountFault(DiskFault kind, absl::string_view what, const std::string& path)
      ABSL_LOCKS_EXCLUDED(mutex_);

  const DiskTierOptions options_;
  std::string folder_;  // of this label
  std::string label_;   // SHA-256 of options_.label
  std::function<void()> on_completed_;
  Observer observer_ ABSL_GUARDED_BY(mutex_);  // may be empty
  std::thread thread_;

  mutable absl::Mutex mutex_;
  std::deque<Operation> reads_ ABSL_GUARDED_BY(mutex_);
  std::deque<Operation> writes_ ABSL_GUARDED_BY(mutex_);
  std::vector<Operation> completed_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool busy_ ABSL_GUARDED_BY(mutex_) = false;  // an operation runs
  absl::flat_hash_map<PoolKey, File> files_ ABSL_GUARDED_BY(mutex_);
  std::map<uint64_t, PoolKey> by_use_ ABSL_GUARDED_BY(mutex_);  // used longest ago first
  uint64_t uses_ ABSL_GUARDED_BY(mutex_) = 0;
  MeasuredRate read_rate_ ABSL_GUARDED_BY(mutex_);
  DiskTierStats stats_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace facet

#endif  // FACET_WORKER_DISK_TIER_H_
