#ifndef FACET_ROUTER_ADMISSION_TENANTS_H_
#define FACET_ROUTER_ADMISSION_TENANTS_H_

#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "router/admission/tenant.h"
#include "router/admission/tenants_file.h"
#include "router/metrics.h"

namespace facet {

struct TenantsOptions {
  std::string file;  // As ParseTenantsFile reads it; empty: all are one tenant without limits.
  absl::Duration look_interval = absl::Seconds(1);
};

// Whose an API key is. Reads the file again when it changes, so that keys come and go without a
// restart; one that is bad then is logged, and the last good one stays. A thread of its own looks.
// All methods may be called from any thread.
class Tenants {
 public:
  // INVALID_ARGUMENT, NOT_FOUND: what is wrong with the file. `metrics` must outlive it.
  static absl::StatusOr<std::unique_ptr<Tenants>> Start(TenantsOptions options,
                                                        RouterMetrics& metrics);
  ~Tenants();
  Tenants(const Tenants&) = delete;
  Tenants& operator=(const Tenants&) = delete;

  // UNAUTHENTICATED for a key that is nobody's. Without a file there is one tenant, whatever the
  // key.
  absl::StatusOr<std::shared_ptr<Tenant>> Find(absl::string_view api_key) const;

  // Reads the file if it has changed since it was read last; the thread does so again and again.
  void BlockingLook() ABSL_LOCKS_EXCLUDED(look_mutex_);

 private:
  // What changes when a file does, even if it is replaced by one of the same size.
  struct Stamp {
    int64_t inode = 0, size = -1, modified_ns = 0;
    bool operator==(const Stamp&) const = default;
  };

  Tenants(TenantsOptions options, RouterMetrics& metrics);
  Stamp StampOfFile() const;
  absl::Status BlockingRead() ABSL_EXCLUSIVE_LOCKS_REQUIRED(look_mutex_);
  void Use(std::vector<TenantOptions> tenants) ABSL_EXCLUSIVE_LOCKS_REQUIRED(look_mutex_);
  void Loop();

  const TenantsOptions options_;
  RouterMetrics& metrics_;
  const std::shared_ptr<Tenant> anonymous_;  // Null with a file. Shared with requests.

  mutable absl::Mutex mutex_;
  // By digest of a key. Shared with requests.
  absl::flat_hash_map<std::string, std::shared_ptr<Tenant>> by_key_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;

  absl::Mutex look_mutex_;  // One reads at a time.
  Stamp read_ ABSL_GUARDED_BY(look_mutex_);
  // All that the file ever named, so that who leaves it and comes back is not given new limits.
  std::map<std::string, std::shared_ptr<Tenant>> by_name_ ABSL_GUARDED_BY(look_mutex_);
  std::thread thread_;
};

}  // namespace facet

#endif  // FACET_ROUTER_ADMISSION_TENANTS_H_
