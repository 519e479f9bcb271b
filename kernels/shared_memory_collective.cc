#include "kernels/shared_memory_collective.h"

#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "kernels/ticker.h"

namespace facet {
namespace {

// What a rank shows the others. A cache line each, or spinning on one would slow the others.
struct alignas(64) RankState {
  std::atomic<uint32_t> turn;      // of the last exchange that its part was written for
  std::atomic<uint32_t> sleepers;  // ranks that sleep until `turn` changes
  std::atomic<uint32_t> beats;     // how often it has shown life; 0: it is not here yet
  std::atomic<int32_t> process;    // written before the first beat
};

// Why a group failed, in the shared word that ends it: reason + kReasons * rank.
enum Reason : uint32_t { kNone, kSilent, kDead, kLeft, kAborted, kReasons };

constexpr uint32_t kMagic = 0xface7001;
constexpr int64_t kPartBytes = int64_t{256} << 10;

// The segment: this, then the parts [size, 2, kPartBytes]. Two of each rank, used in turns: a rank
// that writes for turn t + 2 has seen all others begin turn t + 1, so they have read turn t.
struct Segment {
  uint32_t magic;
  uint32_t size;
  std::atomic<uint32_t> failure;
  RankState ranks[kRanksMax];
};
static_assert(std::atomic<uint32_t>::is_always_lock_free, "the words are shared by processes");
constexpr int64_t kHeadBytes = (sizeof(Segment) + 4095) / 4096 * 4096;

constexpr int64_t SegmentBytes(int size) { return kHeadBytes + 2 * size * kPartBytes; }

using Clock = std::chrono::steady_clock;

// About ten microseconds on processors whose pause takes 140 cycles.
constexpr int kSpins = 200;
constexpr int kYields = 20;
const int64_t kSilentLooks = kRankSilenceMax / kRankBeatInterval;
// A sleeper looks up this often, for the deadline's sake; a failure wakes it.
constexpr absl::Duration kSleep = absl::Milliseconds(50);

void FutexWait(std::atomic<uint32_t>& word, uint32_t value) {
  const timespec timeout = absl::ToTimespec(kSleep);
  syscall(SYS_futex, &word, FUTEX_WAIT, value, &timeout, nullptr, 0);
}

void FutexWakeAll(std::atomic<uint32_t>& word) {
  syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

absl::Status FailureOf(uint32_t word) {
  const uint32_t rank = word / kReasons;
  switch (word % kReasons) {
    case kSilent:
      return absl::UnavailableError(absl::StrCat("rank ", rank, " has shown no life for ",
                                                 absl::FormatDuration(kRankSilenceMax)));
    case kDead:
      return absl::UnavailableError(absl::StrCat("rank ", rank, " has died"));
    case kLeft:
      return absl::UnavailableError(absl::StrCat("rank ", rank, " has left"));
    default:
      return absl::UnavailableError(absl::StrCat("rank ", rank, " has ended the group"));
  }
}

class SharedMemoryCollective final : public Collective {
 public:
  SharedMemoryCollective(Segment* segment, int rank, int size, const CollectiveOptions& options)
      : segment_(*segment),
        rank_(rank),
        size_(size),
        timeout_(options.timeout),
        failure_(options.on_failure),
        watcher_(absl::ToChronoMilliseconds(kRankBeatInterval), [this] { return Watch(); }) {}
  ~SharedMemoryCollective() override;

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  absl::Status AllReduceSum(float* x, int64_t count) override;
  absl::Status AllGather(const void* own, int64_t bytes, void* out) override;
  absl::Status Broadcast(void* data, int64_t bytes) override;
  absl::Status Barrier() override;
  void Abort(const absl::Status& reason) override;
  void Leave() override { failure_.Leave(); }

 private:
  RankState& own() { return segment_.ranks[rank_]; }
  // Where `rank` writes its part of the exchange that runs.
  uint8_t* Part(int rank) {
    return reinterpret_cast<uint8_t*>(&segment_) + kHeadBytes + (2 * rank + turn_ % 2) * kPartBytes;
  }
  void BeginTurn() { ++turn_; }
  // Says that the own part is written, and waits until the others' are.
  absl::Status FinishTurn(absl::Duration timeout);
  absl::Status WaitFor(RankState& other, absl::Duration timeout);
  absl::Status FailureIfAny();
  // Ends the group for all ranks.
  void Fail(Reason reason, int rank);
  // Shows life and looks after the others.
  bool Watch();

  Segment& segment_;
  const int rank_, size_;
  const absl::Duration timeout_;
  uint32_t turn_ = 0;
  GroupFailure failure_;
  // What the watcher knows of another rank: its process, and how often it was seen at the same
  // beat. Looks are counted, not time, so that a machine that stood still has no silent ranks.
  struct Watched {
    int process = -1;  // a descriptor, readable once it has ended
    uint32_t beats = 0;
    int64_t looks = 0;
  };
  // Whether its process has ended.
  static bool Dead(Watched& watched, const RankState& rank);
  Watched watched_[kRanksMax];
  Ticker watcher_;  // the last, so that it sees the others
};

SharedMemoryCollective::~SharedMemoryCollective() {
  Leave();
  watcher_.Stop();
  Fail(kLeft, rank_);
  for (const Watched& watched : watched_) {
    if (watched.process >= 0) close(watched.process);
  }
  munmap(&segment_, SegmentBytes(size_));
}

void SharedMemoryCollective::Fail(Reason reason, int rank) {
  uint32_t none = kNone;
  segment_.failure.compare_exchange_strong(none, reason + kReasons * rank);
  for (int i = 0; i < size_; ++i) FutexWakeAll(segment_.ranks[i].turn);
}

void SharedMemoryCollective::Abort(const absl::Status& reason) {
  failure_.Set(reason);
  Fail(kAborted, rank_);
}

bool SharedMemoryCollective::Dead(Watched& watched, const RankState& rank) {
  if (watched.process < 0) {
    watched.process = static_cast<int>(syscall(SYS_pidfd_open, rank.process.load(), 0));
    // Where the kernel has no such descriptors, silence tells.
    if (watched.process < 0) return errno == ESRCH;
  }
  pollfd ended = {watched.process, POLLIN, 0};
  return poll(&ended, 1, /*timeout=*/0) == 1;
}

bool SharedMemoryCollective::Watch() {
  own().beats.fetch_add(1);
  for (int i = 0; i < size_; ++i) {
    const RankState& rank = segment_.ranks[i];
    const uint32_t beats = rank.beats;
    if (i == rank_ || beats == 0) continue;
    Watched& watched = watched_[i];
    watched.looks = beats == watched.beats ? watched.looks + 1 : 0;
    watched.beats = beats;
    if (Dead(watched, rank)) {
      Fail(kDead, i);
    } else if (watched.looks >= kSilentLooks) {
      Fail(kSilent, i);
    }
  }
  FailureIfAny().IgnoreError();  // told by failure_
  return true;
}

absl::Status SharedMemoryCollective::FailureIfAny() {
  const uint32_t failure = segment_.failure;
  if (failure == kNone) return absl::OkStatus();
  failure_.Set(FailureOf(failure));
  return failure_.status();
}

absl::Status SharedMemoryCollective::FinishTurn(absl::Duration timeout) {
  RETURN_IF_ERROR(FailureIfAny());
  // Both in the one order of all such operations: either the sleeper is seen here, or it sees the
  // new turn before it sleeps.
  own().turn.store(turn_);
  if (own().sleepers.load() > 0) FutexWakeAll(own().turn);
  for (int i = 0; i < size_; ++i) {
    if (i != rank_) RETURN_IF_ERROR(WaitFor(segment_.ranks[i], timeout));
  }
  return absl::OkStatus();
}

absl::Status SharedMemoryCollective::WaitFor(RankState& other, absl::Duration timeout) {
  const auto arrived = [&] { return static_cast<int32_t>(other.turn.load() - turn_) >= 0; };
  for (int i = 0; i < kSpins; ++i) {
    if (arrived()) return absl::OkStatus();
    __builtin_ia32_pause();
  }
  for (int i = 0; i < kYields; ++i) {
    if (arrived()) return absl::OkStatus();
    sched_yield();
  }
  const Clock::time_point begin = Clock::now();
  while (!arrived()) {
    RETURN_IF_ERROR(FailureIfAny());
    if (absl::FromChrono(Clock::now() - begin) > timeout) {
      const auto rank = &other - segment_.ranks;
      Abort(absl::DeadlineExceededError(
          absl::StrCat("rank ", rank, " took no part for ", absl::FormatDuration(timeout))));
      return failure_.status();
    }
    other.sleepers.fetch_add(1);
    const uint32_t seen = other.turn.load();
    if (static_cast<int32_t>(seen - turn_) < 0) FutexWait(other.turn, seen);
    other.sleepers.fetch_sub(1);
  }
  return absl::OkStatus();
}

absl::Status SharedMemoryCollective::AllReduceSum(float* x, int64_t count) {
  constexpr int64_t kPartFloats = kPartBytes / static_cast<int64_t>(sizeof(float));
  for (int64_t done = 0; done < count; done += kPartFloats) {
    const int64_t floats = std::min(kPartFloats, count - done);
    const int64_t bytes = floats * static_cast<int64_t>(sizeof(float));
    BeginTurn();
    std::memcpy(Part(rank_), x + done, bytes);
    RETURN_IF_ERROR(FinishTurn(timeout_));
    std::memcpy(x + done, Part(0), bytes);
    for (int i = 1; i < size_; ++i) {
      AddInPlace(x + done, reinterpret_cast<const float*>(Part(i)), floats);
    }
  }
  return absl::OkStatus();
}

absl::Status SharedMemoryCollective::AllGather(const void* own, int64_t bytes, void* out) {
  for (int64_t done = 0; done < bytes; done += kPartBytes) {
    const int64_t part = std::min(kPartBytes, bytes - done);
    BeginTurn();
    std::memcpy(Part(rank_), static_cast<const uint8_t*>(own) + done, part);
    RETURN_IF_ERROR(FinishTurn(timeout_));
    for (int i = 0; i < size_; ++i) {
      std::memcpy(static_cast<uint8_t*>(out) + i * bytes + done, Part(i), part);
    }
  }
  return absl::OkStatus();
}

absl::Status SharedMemoryCollective::Broadcast(void* data, int64_t bytes) {
  for (int64_t done = 0; done < bytes; done += kPartBytes) {
    const int64_t part = std::min(kPartBytes, bytes - done);
    uint8_t* const at = static_cast<uint8_t*>(data) + done;
    BeginTurn();
    if (rank_ == 0) std::memcpy(Part(0), at, part);
    RETURN_IF_ERROR(FinishTurn(rank_ == 0 ? timeout_ : absl::InfiniteDuration()));
    if (rank_ != 0) std::memcpy(at, Part(0), part);
  }
  return absl::OkStatus();
}

absl::Status SharedMemoryCollective::Barrier() {
  BeginTurn();
  return FinishTurn(timeout_);
}

}  // namespace

absl::StatusOr<int> MakeSharedSegment(int size) {
  if (size < 2 || size > kRanksMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("a group of ", size, " ranks is not in [2, ", kRanksMax, "]"));
  }
  const int descriptor = memfd_create("facet-group", MFD_CLOEXEC);
  if (descriptor < 0) return absl::ErrnoToStatus(errno, "memfd_create");
  if (ftruncate(descriptor, SegmentBytes(size)) != 0) {
    const absl::Status status = absl::ErrnoToStatus(errno, "shared memory for the group");
    close(descriptor);
    return status;
  }
  void* const mapped =
      mmap(nullptr, sizeof(Segment), PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  if (mapped == MAP_FAILED) {
    const absl::Status status = absl::ErrnoToStatus(errno, "mapping the group's shared memory");
    close(descriptor);
    return status;
  }
  // The rest is zero, as new memory is.
  auto* const segment = static_cast<Segment*>(mapped);
  segment->magic = kMagic;
  segment->size = static_cast<uint32_t>(size);
  munmap(mapped, sizeof(Segment));
  return descriptor;
}

absl::StatusOr<std::unique_ptr<Collective>> MakeSharedMemoryCollective(
    int descriptor, int rank, int size, const CollectiveOptions& options) {
  if (size < 2 || size > kRanksMax || rank < 0 || rank >= size) {
    return absl::InvalidArgumentError(
        absl::StrCat("rank ", rank, " of ", size, " is none of a group"));
  }
  struct stat about;
  if (fstat(descriptor, &about) != 0) return absl::ErrnoToStatus(errno, "the group's memory");
  if (about.st_size != SegmentBytes(size)) {
    return absl::InvalidArgumentError(absl::StrCat("the group's shared memory has ", about.st_size,
                                                   " bytes, not the ", SegmentBytes(size), " of ",
                                                   size, " ranks"));
  }
  void* const mapped =
      mmap(nullptr, SegmentBytes(size), PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  if (mapped == MAP_FAILED) return absl::ErrnoToStatus(errno, "mapping the group's shared memory");
  auto* const segment = static_cast<Segment*>(mapped);
  if (segment->magic != kMagic || segment->size != static_cast<uint32_t>(size)) {
    munmap(mapped, SegmentBytes(size));
    return absl::InvalidArgumentError("the group's shared memory is of another form");
  }
  // Before any call: one that dies right after its first must be missed.
  segment->ranks[rank].process = getpid();
  segment->ranks[rank].beats = 1;
  return std::make_unique<SharedMemoryCollective>(segment, rank, size, options);
}

}  // namespace facet
