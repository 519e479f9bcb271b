#ifndef FACET_ROUTER_ADMISSION_TENANT_H_
#define FACET_ROUTER_ADMISSION_TENANT_H_

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "router/admission/tenants_file.h"
#include "router/admission/token_bucket.h"
#include "router/metrics.h"

namespace facet {

// Seconds on a clock that never goes back.
double SteadyNowS();

// One tenant while the router runs: what it may do, and what it has used. Lives on when its options
// change. Safe to use from any thread.
class Tenant {
 public:
  // `now_s` is its clock.
  Tenant(TenantOptions options, TenantMetrics metrics, std::function<double()> now_s = &SteadyNowS);

  // What was used stays used.
  void Update(TenantOptions options);

  const std::string& name() const { return name_; }
  const TenantMetrics& metrics() const { return metrics_; }

 private:
  friend class TenantRequest;

  absl::StatusOr<std::shared_ptr<const TenantOptions>> BeginRequest();
  void EndRequest(double more_tokens);
  absl::Status TakeTokens(double tokens);
  std::vector<std::pair<std::string, std::string>> RateLimitHeaders();

  const std::string name_;
  const TenantMetrics metrics_;
  const std::function<double()> now_s_;
  absl::Mutex mutex_;
  // Shared with requests, which keep those that they began with.
  std::shared_ptr<const TenantOptions> options_ ABSL_GUARDED_BY(mutex_);
  TokenBucket requests_ ABSL_GUARDED_BY(mutex_);
  TokenBucket tokens_ ABSL_GUARDED_BY(mutex_);
  int64_t running_ ABSL_GUARDED_BY(mutex_) = 0;
};

// One request of a tenant, from its receipt to its end: holds its place among the concurrent ones,
// and settles its tokens when it ends. Belongs to one strand.
class TenantRequest {
 public:
  // RESOURCE_EXHAUSTED if the tenant has as many requests a minute, or at the same time, as it may.
  // `code` of the error is the limit's name in the tenants' file.
  static absl::StatusOr<std::shared_ptr<TenantRequest>> Begin(std::shared_ptr<Tenant> tenant);
  ~TenantRequest() { tenant_->EndRequest(used_tokens_ - taken_tokens_); }
  TenantRequest(const TenantRequest&) = delete;
  TenantRequest& operator=(const TenantRequest&) = delete;

  const std::string& tenant() const { return tenant_->name(); }
  const TenantMetrics& metrics() const { return tenant_->metrics(); }
  double weight() const { return options_->weight; }
  bool limits_tokens() const { return options_->tokens_per_minute > 0; }
  // Equal in all routers; empty: its cached prefixes are shared.
  std::string cache_salt() const;
  // The nearest to `wished` that it may have.
  int64_t PriorityOf(int64_t wished) const;
  // PERMISSION_DENIED if it may not ask for `model`, MODEL or MODEL:ADAPTER.
  absl::Status CheckModel(absl::string_view model) const;

  // Takes what it is thought to cost. RESOURCE_EXHAUSTED as Begin.
  absl::Status TakeTokens(double tokens);
  // What it did cost.
  void SetUsedTokens(double tokens) { used_tokens_ = tokens; }
  // x-ratelimit-..., as OpenAI has them; of limits that the tenant has.
  std::vector<std::pair<std::string, std::string>> RateLimitHeaders() const;

 private:
  TenantRequest(std::shared_ptr<Tenant> tenant, std::shared_ptr<const TenantOptions> options)
      : tenant_(std::move(tenant)), options_(std::move(options)) {}

  const std::shared_ptr<Tenant> tenant_;  // Shared with the table of tenants and other requests.
  const std::shared_ptr<const TenantOptions> options_;  // Shared with the tenant.
  double taken_tokens_ = 0, used_tokens_ = 0;
};

}  // namespace facet

#endif  // FACET_ROUTER_ADMISSION_TENANT_H_
