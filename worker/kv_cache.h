#ifndef FACET_WORKER_KV_CACHE_H_
#define FACET_WORKER_KV_CACHE_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "kernels/device.h"
#include "model/config.h"
#include "worker/device_group.h"
#include "worker/prefix_cache.h"

namespace facet {

// How keys and values are stored: the format of both pools, and the form of the full layers.
// Sliding layers are always plain, as they have a projection for their values.
struct KvLayout {
  KvFormat format = KvFormat::kF32;
  KvForm form = KvForm::kPlain;
  int full_rope_pairs = 0;  // narrow form only: pairs that full layers turn
};

// How many pages each pool gets. Full layers keep a sequence's whole context, sliding layers only
// its window, so the two are counted apart.
struct KvPlan {
  int32_t full_pages = 0;
  int32_t sliding_pages = 0;
  int64_t full_page_bytes = 0;     // over all full layers
  int64_t sliding_page_bytes = 0;  // over all sliding layers
  int context_tokens_max = 0;      // the longest sequence that fits
  KvLayout layout = {};
  int64_t page_bytes(KvPool pool) const {
    return pool == KvPool::kFull ? full_page_bytes : sliding_page_bytes;
  }
  int64_t bytes() const {
    return full_pages * full_page_bytes + sliding_pages * sliding_page_bytes;
  }
};

struct KvPlanOptions {
  int64_t memory_bytes = int64_t{2} << 30;
  int context_tokens_max = 0;     // 0: the model's own, as far as memory allows
  int running_requests_max = 64;  // no more sequences than this are planned for
  int step_tokens_max = 512;      // rows of one step: a sequence's sliding pages span window + step
  KvLayout layout = {};
};

// Splits the memory so that both pools run out at about the same time. RESOURCE_EXHAUSTED says how
// much even one sequence needs; INVALID_ARGUMENT, that the model's shape does not fit the form.
absl::StatusOr<KvPlan> PlanKv(const TextConfig& config, const KvPlanOptions& options);

// Pages that one sequence of `tokens` can hold at most in the sliding pool.
int32_t SlidingPagesMax(const TextConfig& config, int step_tokens_max, int tokens);

// The planned memory, and whose its pages are. Owned by the engine's thread; `device` must
// outlive it. Memory is taken once, here.
class KvCache {
 public:
  // `key_norms` (host, by layer; device, [head_dim] each) are needed for the narrow form alone, and
  // must outlive the cache.
  static absl::StatusOr<KvCache> Make(const TextConfig& config, const KvPlan& plan, Device& device,
                                      absl::Span<const float* const> key_norms = {});

  const KvPlan& plan() const { return plan_; }
  PrefixCache& pages() { return pages_; }
  const PrefixCache& pages() const { return pages_; }
  const KvLayer& layer(int index) const { return layers_[index]; }

  // The contents of one page over all layers of its pool, page_bytes(pool) of them, as `host` holds
  // them between the two: the same form for all pages of one numerics class. In a tensor-parallel
  // group these are the parts of all ranks, one after the other: the leader gathers them and hands
  // them out, so that tiers and other workers know nothing of ranks.
  int64_t page_bytes(KvPool pool) const { return plan_.page_bytes(pool) * ranks(); }
  void CopyPageToHostBlocking(KvPool pool, int32_t page, uint8_t* host) const;
  void CopyPageToDevice(KvPool pool, int32_t page, const uint8_t* host);

  // The plan, with pages as `host` holds them.
  KvPlan host_plan() const;

  // Joins a group, whose ranks all plan alike. `group` must outlive it.
  void SetGroup(DeviceGroup* group) { group_ = group; }
  // Called by the leader's copies, so that the followers take part in each.
  using BeforeCopy = std::function<void(KvPool pool, int32_t page, bool to_device)>;
  void SetBeforeCopy(BeforeCopy before_copy) { before_copy_ = std::move(before_copy); }
  // A follower's part in one. REQUIRES: `page` is one of the pool's.
  void FollowCopyBlocking(KvPool pool, int32_t page, bool to_device);

 private:
  KvCache(const KvPlan& plan, int window_tokens, Device* device)
      : plan_(plan), pages_(plan.full_pages, plan.sliding_pages, window_tokens), device_(device) {}

  // The contiguous pieces of a page, in the order in which a host copy holds them.
  struct Piece {
    uint8_t* device;
    int64_t bytes;
  };
  std::vector<Piece> PiecesOf(KvPool pool, int32_t page) const;
  void CopyOwnToHostBlocking(KvPool pool, int32_t page, uint8_t* host) const;
  void CopyOwnToDevice(KvPool pool, int32_t page, const uint8_t* host);
  int ranks() const { return group_ == nullptr ? 1 : group_->size(); }

  KvPlan plan_;
  PrefixCache pages_;
  Device* device_;
  std::vector<KvPool> layer_pools_;
  std::vector<KvLayer> layers_;
  std::vector<DeviceBuffer> buffers_;
  DeviceGroup* group_ = nullptr;  // null: no other ranks
  BeforeCopy before_copy_;
};

}  // namespace facet

#endif  // FACET_WORKER_KV_CACHE_H_
