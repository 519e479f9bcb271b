#ifndef FACET_PROTO_PAGE_EVENT_H_
#define FACET_PROTO_PAGE_EVENT_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "proto/page_key.h"
#include "proto/worker.pb.h"

namespace facet {

// Where a worker may keep a page. A page may be in several tiers at once.
enum class PageTier : uint8_t { kDevice = 0, kHost = 1, kDisk = 2 };

// A worker stored a page in a tier, or removed it from there. Pages of the full and of the sliding
// layers come and go apart from each other.
struct PageEvent {
  PageKey key = {};
  bool sliding = false;
  PageTier tier = PageTier::kDevice;
  bool stored = true;
};

inline bool operator==(const PageEvent& a, const PageEvent& b) {
  return a.key == b.key && a.sliding == b.sliding && a.tier == b.tier && a.stored == b.stored;
}

// The packed form of v1::PageEvents, 17 bytes an event: a worker's snapshot may have millions.
void AppendPageEvent(const PageEvent& event, v1::PageEvents& events);
// INVALID_ARGUMENT naming the field if lengths or bits are not those of packed events.
absl::StatusOr<std::vector<PageEvent>> ParsePageEvents(const v1::PageEvents& events);

}  // namespace facet

#endif  // FACET_PROTO_PAGE_EVENT_H_
