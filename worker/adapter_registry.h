#ifndef FACET_WORKER_ADAPTER_REGISTRY_H_
#define FACET_WORKER_ADAPTER_REGISTRY_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "kernels/device.h"
#include "worker/adapter.h"

namespace facet {

struct AdapterLimits {
  int adapters_max = 16;                 // held under a name at once
  int64_t bytes_max = int64_t{1} << 30;  // of their weights, those unloaded but in use included
};

// The adapters that requests may name. Any thread may call any method; `device` and `base` must
// outlive it.
//
// A request takes its adapter at admission and keeps it to its end. Unloading takes the name away
// at once: new requests are refused, those that run end with the adapter, and its memory counts
// until the last of them has ended.
class AdapterRegistry {
 public:
  // What is told of one.
  struct Entry {
    std::string name;
    std::string digest;
    int rank_max;
  };
  using Observer = std::function<void(const std::vector<Entry>& entries)>;

  AdapterRegistry(const ShardPlan* base, Device* device, const AdapterLimits& limits)
      : base_(*base), device_(*device), limits_(limits) {}

  // Reads what lies at `path` and holds it as `name`. Nothing to do where it holds the same
  // contents under that name already. INVALID_ARGUMENT names what is wrong with name or file,
  // ALREADY_EXISTS: the name has other contents, RESOURCE_EXHAUSTED: too many, or no room.
  absl::Status BlockingLoad(const std::string& name, const std::string& path)
      ABSL_LOCKS_EXCLUDED(load_mutex_, mutex_);
  // NOT_FOUND: there is none of that name.
  absl::Status Unload(const std::string& name) ABSL_LOCKS_EXCLUDED(mutex_);

  // Null if there is none.
  std::shared_ptr<const Adapter> Find(absl::string_view name) const ABSL_LOCKS_EXCLUDED(mutex_);
  // Ascending by name.
  std::vector<Entry> List() const ABSL_LOCKS_EXCLUDED(mutex_);
  int64_t bytes_held() const ABSL_LOCKS_EXCLUDED(mutex_);
  const AdapterLimits& limits() const { return limits_; }

  // Hears all that are held, now and after each change, in order; only enqueue. Call it once,
  // before any other thread knows the registry.
  void SetObserver(Observer observer) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  std::vector<Entry> ListLocked() const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  int64_t BytesLocked() const ABSL_SHARED_LOCKS_REQUIRED(mutex_);

  const ShardPlan& base_;
  Device& device_;
  const AdapterLimits limits_;
  absl::Mutex load_mutex_;  // one is read at a time, so that memory is counted before it is taken
  mutable absl::Mutex mutex_;
  // Shared with the requests that use them.
  std::map<std::string, std::shared_ptr<const Adapter>, std::less<>> held_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::weak_ptr<const Adapter>> unloaded_ ABSL_GUARDED_BY(mutex_);  // perhaps in use
  Observer observer_ ABSL_GUARDED_BY(mutex_);
};

// Loads each adapter of a folder (model/adapter_folder.h) under its name. One that cannot be loaded
// is logged and passed over, so that it does not keep the others from serving. NOT_FOUND: there is
// no such folder.
absl::Status BlockingLoadFolder(const std::string& folder, AdapterRegistry& registry);

}  // namespace facet

#endif  // FACET_WORKER_ADAPTER_REGISTRY_H_
