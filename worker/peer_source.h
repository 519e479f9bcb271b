#ifndef FACET_WORKER_PEER_SOURCE_H_
#define FACET_WORKER_PEER_SOURCE_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "worker/prefix_cache.h"

namespace facet {

// What a worker's pages are. Workers of equal formats may use each other's.
struct PageFormat {
  // All that the contents of a page depend on beside its key: model, numerics class, layout.
  std::string label;
  int64_t page_bytes[2] = {};  // by pool
  int64_t bytes(KvPool pool) const { return page_bytes[static_cast<int>(pool)]; }
};

// A page on its way from another worker to host memory here. The memory is the caller's, and must
// stay until the copy was taken as completed.
struct PageCopy {
  PoolKey key;
  int32_t slot;     // the caller's own
  int depth;        // the caller's own
  uint8_t* memory;  // page_bytes of the pool
  bool ok = false;  // set when completed
};

struct PeerStats {
  int64_t pages = 0, bytes = 0;  // that came
  int64_t missed = 0;            // pages that were to come, and did not
};

// Other workers, as a place that pages may be copied from. Calls come from the engine's thread;
// none of them waits.
//
// Guarantee: each page of each pull is completed once, soon after its timeout at the latest.
class PeerSource {
 public:
  virtual ~PeerSource() = default;

  // `on_completed` is called on other threads when TakeCompleted has something: only enqueue.
  virtual void Start(std::function<void()> on_completed) = 0;
  // Begins to copy pages, those of full layers first, from the worker at `address`. Gives a number
  // for Cancel.
  virtual uint64_t Pull(const std::string& address, std::vector<PageCopy> pages,
                        absl::Duration timeout) = 0;
  // Nobody waits for what has not come yet. A pull that has ended is ignored.
  virtual void Cancel(uint64_t pull) = 0;
  virtual std::vector<PageCopy> TakeCompleted() = 0;
  // Cancels what is under way, and returns when all of it is completed.
  virtual void BlockingStop() = 0;

  // Bytes a second of the last pulls; 0: not measured lately.
  virtual double bytes_per_s() const = 0;
  virtual PeerStats stats() const = 0;
};

}  // namespace facet

#endif  // FACET_WORKER_PEER_SOURCE_H_
