#include "worker/page_pool.h"

#include "base/check.h"

namespace facet {

PagePool::PagePool(int32_t pages) : in_use_(pages, false) {
  CHECK_GE(pages, 0);
  // The last one goes out first, so the lowest numbers are used first: they are touched already.
  for (int32_t page = pages; page-- > 0;) free_.push_back(page);
}

int32_t PagePool::Take() {
  CHECK(!free_.empty());
  const int32_t page = free_.back();
  free_.pop_back();
  in_use_[page] = true;
  return page;
}

void PagePool::GiveBack(int32_t page) {
  CHECK(page >= 0 && page < page_count() && in_use_[page]) << "page " << page;
  in_use_[page] = false;
  free_.push_back(page);
}

void PagePool::CheckInvariants() const {
  for (const int32_t page : free_) CHECK(!in_use_[page]) << "page " << page;
  int32_t used = 0;
  for (const bool in_use : in_use_) used += in_use ? 1 : 0;
  CHECK_EQ(used + free_count(), page_count());
}

}  // namespace facet
