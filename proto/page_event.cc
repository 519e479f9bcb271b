#include "proto/page_event.h"

#include <algorithm>
#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace facet {
namespace {

constexpr uint8_t kStored = 1, kSliding = 2;
constexpr int kTierShift = 2;
constexpr uint8_t kTierMax = 2;

}  // namespace

void AppendPageEvent(const PageEvent& event, v1::PageEvents& events) {
  events.mutable_keys()->append(reinterpret_cast<const char*>(event.key.data()), event.key.size());
  events.mutable_kinds()->push_back(static_cast<char>((event.stored ? kStored : 0) |
                                                      (event.sliding ? kSliding : 0) |
                                                      static_cast<int>(event.tier) << kTierShift));
}

absl::StatusOr<std::vector<PageEvent>> ParsePageEvents(const v1::PageEvents& events) {
  constexpr size_t kKeyBytes = sizeof(PageKey);
  const size_t count = events.kinds().size();
  if (events.keys().size() != count * kKeyBytes) {
    return absl::InvalidArgumentError(absl::StrCat("page_events.keys has ", events.keys().size(),
                                                   " bytes for ", count, " events of ", kKeyBytes));
  }
  std::vector<PageEvent> parsed(count);
  for (size_t i = 0; i < count; ++i) {
    const auto kind = static_cast<uint8_t>(events.kinds()[i]);
    if (kind >> kTierShift > kTierMax) {
      return absl::InvalidArgumentError(
          absl::StrCat("page_events.kinds[", i, "] is ", kind, ", which names no tier"));
    }
    std::memcpy(parsed[i].key.data(), events.keys().data() + i * kKeyBytes, kKeyBytes);
    parsed[i].stored = (kind & kStored) != 0;
    parsed[i].sliding = (kind & kSliding) != 0;
    parsed[i].tier = static_cast<PageTier>(kind >> kTierShift);
  }
  return parsed;
}

}  // namespace facet
