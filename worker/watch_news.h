#ifndef FACET_WORKER_WATCH_NEWS_H_
#define FACET_WORKER_WATCH_NEWS_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "proto/page_event.h"
#include "proto/worker.pb.h"

namespace facet {

// Between two messages to a reader, at least.
inline constexpr absl::Duration kNewsInterval = absl::Milliseconds(20);

// What a worker has to tell: the newest load, and which pages of cached prefixes came and went
// since it told last. Holds no lock and no clock.
class WatchNews {
 public:
  void PostLoad(const v1::Load& load);
  void PostPage(const PageEvent& event);
  // All adapters that the worker holds: they stand in its loads.
  void PostAdapters(const std::vector<v1::AdapterInfo>& adapters);

  // Whether a reader would act otherwise if it heard.
  bool any() const { return load_changed_ || !events_.empty(); }
  const v1::Load& load() const { return load_; }
  // What was not told yet; told by this.
  std::vector<PageEvent> Take();
  // All pages that are there, for who hears for the first time.
  std::vector<PageEvent> AllPages() const;

 private:
  v1::Load load_;  // with the adapters
  bool load_changed_ = false;
  // A bit for each tier where a page of a key and pool (sliding or not) is.
  absl::flat_hash_map<std::pair<PageKey, bool>, uint8_t> pages_;
  std::vector<PageEvent> events_;
};

}  // namespace facet

#endif  // FACET_WORKER_WATCH_NEWS_H_
