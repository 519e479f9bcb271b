#ifndef FACET_ROUTER_CLUSTER_PAGE_DIRECTORY_H_
#define FACET_ROUTER_CLUSTER_PAGE_DIRECTORY_H_

#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "proto/page_event.h"
#include "proto/page_key.h"
#include "router/cluster/page_index.h"

namespace facet {

using SharedPageKeys = std::shared_ptr<const std::vector<PageKey>>;

// What this router believes each worker to hold of prompts: what the workers told, and what it gave
// them to compute a moment ago, so that of many equal prompts at once all but the first wait where
// that one is computed. Any thread may call any method.
class PageDirectory {
 public:
  // The pages of one prompt that a worker is to compute; believed to be there for as long as this
  // lives: until the answer begins, since the worker tells of them itself by then.
  class Expected {
   public:
    Expected() = default;
    Expected(PageDirectory* directory, int worker, SharedPageKeys keys)
        : directory_(directory), worker_(worker), keys_(std::move(keys)) {}
    Expected(Expected&& other) noexcept { *this = std::move(other); }
    Expected& operator=(Expected&& other) noexcept;
    ~Expected() { Reset(); }
    void Reset();

   private:
    PageDirectory* directory_ = nullptr;  // Null: nothing is expected.
    int worker_ = 0;
    SharedPageKeys keys_;  // Shared with the request.
  };

  explicit PageDirectory(int64_t pages_max);

  // The sliding window of the model that is served. What was told before is forgotten.
  void SetWindow(int window_pages) ABSL_LOCKS_EXCLUDED(mutex_);
  // Placements wait meanwhile, some 100 us for 1,000 events: give more of them in pieces.
  void Apply(int worker, absl::Span<const PageEvent> events) ABSL_LOCKS_EXCLUDED(mutex_);
  void RemoveWorker(int worker) ABSL_LOCKS_EXCLUDED(mutex_);
  [[nodiscard]] Expected Expect(int worker, SharedPageKeys keys) ABSL_LOCKS_EXCLUDED(mutex_);

  // How many pages of a prompt a worker need not compute, and how many of these it told of, so that
  // they are there now.
  struct Holding {
    int usable_pages = 0;
    int told_pages = 0;
  };
  // Into `holdings`, by worker: what they have of a prompt with these keys. Those beyond its size
  // have nothing.
  void Lookup(absl::Span<const PageKey> keys, std::vector<Holding>& holdings) const
      ABSL_LOCKS_EXCLUDED(mutex_);

  int64_t page_count() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void ApplyExpected(int worker, const std::vector<PageKey>& keys, bool stored)
      ABSL_LOCKS_EXCLUDED(mutex_);

  const int64_t pages_max_;
  mutable absl::Mutex mutex_;
  std::unique_ptr<PageIndex> told_ ABSL_GUARDED_BY(mutex_);
  // Full pages alone. Two requests may expect the same page, and the first of them to begin takes
  // it away: by then the worker has told of it.
  PageIndex expected_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace facet

#endif  // FACET_ROUTER_CLUSTER_PAGE_DIRECTORY_H_
