#ifndef FACET_WORKER_HOST_TIER_H_
#define FACET_WORKER_HOST_TIER_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "worker/kv_cache.h"
#include "worker/prefix_cache.h"

namespace facet {

// Pages in host memory, behind those of the device: slots for both pools, and whose they are. Slots
// go by the same rules as the device's pages (prefix_cache.h): taken, filled, published under the
// page's key, held while somebody copies from or to them, evicted when their room is needed.
//
// Belongs to the engine's thread. The disk tier's thread reads and writes the memory of slots that
// are held for it, nothing else. Memory is reserved once, here; the system gives it as it is
// touched.
class HostTier {
 public:
  // Splits `bytes` between the pools as `device_plan` does, but gives the sliding pool one window
  // at least: less of it is of no use. INVALID_ARGUMENT says how much a window and a full page
  // need.
  static absl::StatusOr<std::unique_ptr<HostTier>> Make(const KvPlan& device_plan,
                                                        int window_tokens, int64_t bytes);

  PrefixCache& slots() { return slots_; }
  const PrefixCache& slots() const { return slots_; }
  int64_t page_bytes(KvPool pool) const { return page_bytes_[static_cast<int>(pool)]; }
  // page_bytes(pool) of them.
  uint8_t* memory(KvPool pool, int32_t slot) {
    return memory_[static_cast<int>(pool)].get() + slot * page_bytes(pool);
  }

 private:
  HostTier(int32_t full_slots, int32_t sliding_slots, int window_tokens)
      : slots_(full_slots, sliding_slots, window_tokens) {}

  PrefixCache slots_;
  int64_t page_bytes_[2] = {};
  std::unique_ptr<uint8_t[]> memory_[2];
};

}  // namespace facet

#endif  // FACET_WORKER_HOST_TIER_H_
