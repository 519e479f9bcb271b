#include "worker/host_tier.h"

#include <algorithm>
#include <new>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace facet {

absl::StatusOr<std::unique_ptr<HostTier>> HostTier::Make(const KvPlan& device_plan,
                                                         int window_tokens, int64_t bytes) {
  const double scale =
      static_cast<double>(bytes) / static_cast<double>(std::max<int64_t>(device_plan.bytes(), 1));
  const auto full = static_cast<int32_t>(scale * device_plan.full_pages);
  const auto sliding = static_cast<int32_t>(scale * device_plan.sliding_pages);
  if (full < 1 || sliding < 1) {
    const int32_t fewest = std::min(device_plan.full_pages, device_plan.sliding_pages);
    return absl::InvalidArgumentError(
        absl::StrCat("a host tier of ", bytes, " bytes holds no page of each pool: it needs ",
                     device_plan.bytes() / std::max(fewest, 1) + 1, ", or 0 for none"));
  }
  auto tier = std::unique_ptr<HostTier>(new HostTier(full, sliding, window_tokens));
  for (const KvPool pool : {KvPool::kFull, KvPool::kSliding}) {
    const int i = static_cast<int>(pool);
    tier->page_bytes_[i] = device_plan.page_bytes(pool);
    const int64_t pool_bytes = tier->slots_.page_count(pool) * tier->page_bytes_[i];
    tier->memory_[i].reset(new (std::nothrow) uint8_t[pool_bytes]);
    if (tier->memory_[i] == nullptr) {
      return absl::ResourceExhaustedError(
          absl::StrCat("no memory for a host tier of ", bytes, " bytes"));
    }
  }
  return tier;
}

}  // namespace facet
