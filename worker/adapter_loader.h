#ifndef FACET_WORKER_ADAPTER_LOADER_H_
#define FACET_WORKER_ADAPTER_LOADER_H_

#include <deque>
#include <functional>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "worker/adapter_registry.h"

namespace facet {

// Loads adapters on a thread of its own, one after the other, so that neither the engine's thread
// nor one of gRPC's reads files. Any thread may call Add.
class AdapterLoader {
 public:
  // Hears how it ended, on the loader's thread, or on the caller's of Add where it was refused.
  using Done = std::function<void(const absl::Status& status)>;

  // `registry` must outlive it.
  explicit AdapterLoader(AdapterRegistry* registry);
  // Ends the load that runs; those that wait hear UNAVAILABLE.
  ~AdapterLoader();
  AdapterLoader(const AdapterLoader&) = delete;
  AdapterLoader& operator=(const AdapterLoader&) = delete;

  // RESOURCE_EXHAUSTED: too many wait.
  void Add(const std::string& name, const std::string& path, Done done) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Job {
    std::string name, path;
    Done done;
  };
  void Loop() ABSL_LOCKS_EXCLUDED(mutex_);

  AdapterRegistry& registry_;
  absl::Mutex mutex_;
  std::deque<Job> waiting_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace facet

#endif  // FACET_WORKER_ADAPTER_LOADER_H_
