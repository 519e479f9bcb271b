#ifndef FACET_WORKER_PAGE_POOL_H_
#define FACET_WORKER_PAGE_POOL_H_

#include <cstdint>
#include <vector>

namespace facet {

// Hands out the page numbers [0, pages) of one KV pool. Holds no lock: it belongs to the engine's
// thread.
//
// Invariants (CheckInvariants):
// 1. Each page is free or in use, never both.
// 2. free_count() + in_use_count() == page_count().
class PagePool {
 public:
  explicit PagePool(int32_t pages);

  int32_t page_count() const { return static_cast<int32_t>(in_use_.size()); }
  int32_t free_count() const { return static_cast<int32_t>(free_.size()); }
  int32_t in_use_count() const { return page_count() - free_count(); }

  // REQUIRES: free_count() > 0.
  int32_t Take();
  // REQUIRES: `page` is in use.
  void GiveBack(int32_t page);

  void CheckInvariants() const;

 private:
  std::vector<int32_t> free_;
  std::vector<bool> in_use_;
};

}  // namespace facet

#endif  // FACET_WORKER_PAGE_POOL_H_
