#include "worker/host_tier.h"

#include <algorithm>
#include <new>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kernels/device.h"

namespace facet {

absl::StatusOr<std::unique_ptr<HostTier>> HostTier::Make(const KvPlan& device_plan,
                                                         int window_tokens, int64_t bytes) {
  const double scale =
      static_cast<double>(bytes) / static_cast<double>(std::max<int64_t>(device_plan.bytes(), 1));
  const int32_t window_pages = (window_tokens + kPageTokens - 1) / kPageTokens;
  const auto sliding =
      std::max(window_pages, static_cast<int32_t>(scale * device_plan.sliding_pages));
  const int64_t left = bytes - sliding * device_plan.sliding_page_bytes;
  const auto full = static_cast<int32_t>(
      std::min(static_cast<double>(left) /
                   static_cast<double>(std::max<int64_t>(device_plan.full_page_bytes, 1)),
               std::max(1.0, scale * device_plan.full_pages)));
  if (full < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("a host tier of ", bytes,
                     " bytes is of no use: one window of sliding pages and a full page "
                     "need ",
                     window_pages * device_plan.sliding_page_bytes + device_plan.full_page_bytes,
                     "; 0 is for none"));
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
