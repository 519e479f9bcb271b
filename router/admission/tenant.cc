#include "router/admission/tenant.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/status_macros.h"
#include "router/api/api_error.h"

namespace facet {
namespace {

absl::Status OverLimit(absl::string_view tenant, absl::string_view limit, int64_t most,
                       double retry_after_s) {
  return WithRetryAfter(WithParam(absl::ResourceExhaustedError(
                                      absl::StrCat("Tenant ", tenant, " has reached its limit of ",
                                                   most, " ", limit, "; try again later.")),
                                  /*param=*/"", limit),
                        retry_after_s);
}

// As OpenAI writes them: "6m0s", "12ms".
std::string DurationText(double seconds) {
  return absl::FormatDuration(absl::Milliseconds(std::ceil(seconds * 1000)));
}

void AddHeaders(absl::string_view what, TokenBucket& bucket, double now_s,
                std::vector<std::pair<std::string, std::string>>& headers) {
  if (!bucket.limited()) return;
  headers.emplace_back(absl::StrCat("x-ratelimit-limit-", what),
                       absl::StrCat(static_cast<int64_t>(bucket.per_minute())));
  headers.emplace_back(absl::StrCat("x-ratelimit-remaining-", what),
                       absl::StrCat(static_cast<int64_t>(bucket.Remaining(now_s))));
  headers.emplace_back(absl::StrCat("x-ratelimit-reset-", what),
                       DurationText(bucket.SecondsUntilFull(now_s)));
}

}  // namespace

double SteadyNowS() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

Tenant::Tenant(TenantOptions options, TenantMetrics metrics, std::function<double()> now_s)
    : name_(options.name),
      metrics_(metrics),
      now_s_(std::move(now_s)),
      options_(std::make_shared<const TenantOptions>(std::move(options))),
      requests_(static_cast<double>(options_->requests_per_minute)),
      tokens_(static_cast<double>(options_->tokens_per_minute)) {}

void Tenant::Update(TenantOptions options) {
  absl::MutexLock lock(&mutex_);
  const double now_s = now_s_();
  options_ = std::make_shared<const TenantOptions>(std::move(options));
  requests_.SetLimit(static_cast<double>(options_->requests_per_minute), now_s);
  tokens_.SetLimit(static_cast<double>(options_->tokens_per_minute), now_s);
}

absl::StatusOr<std::shared_ptr<const TenantOptions>> Tenant::BeginRequest() {
  absl::MutexLock lock(&mutex_);
  const double now_s = now_s_();
  const int64_t running_max = options_->concurrent_requests;
  absl::Status refusal;
  if (running_max > 0 && running_ >= running_max) {
    // When one of them ends nobody knows.
    refusal = OverLimit(name_, "concurrent_requests", running_max, /*retry_after_s=*/1);
  } else if (!requests_.Take(1, now_s)) {
    refusal = OverLimit(name_, "requests_per_minute", options_->requests_per_minute,
                        requests_.SecondsUntil(1, now_s));
  }
  if (!refusal.ok()) {
    metrics_.shed_requests->Increment();
    return refusal;
  }
  ++running_;
  return options_;
}

void Tenant::EndRequest(double more_tokens) {
  absl::MutexLock lock(&mutex_);
  --running_;
  if (tokens_.limited()) tokens_.Charge(more_tokens, now_s_());
}

absl::Status Tenant::TakeTokens(double tokens) {
  absl::MutexLock lock(&mutex_);
  const double now_s = now_s_();
  if (tokens_.Take(tokens, now_s)) return absl::OkStatus();
  return OverLimit(name_, "tokens_per_minute", options_->tokens_per_minute,
                   tokens_.SecondsUntil(tokens, now_s));
}

std::vector<std::pair<std::string, std::string>> Tenant::RateLimitHeaders() {
  absl::MutexLock lock(&mutex_);
  std::vector<std::pair<std::string, std::string>> headers;
  const double now_s = now_s_();
  AddHeaders("requests", requests_, now_s, headers);
  AddHeaders("tokens", tokens_, now_s, headers);
  return headers;
}

absl::StatusOr<std::shared_ptr<TenantRequest>> TenantRequest::Begin(
    std::shared_ptr<Tenant> tenant) {
  absl::StatusOr<std::shared_ptr<const TenantOptions>> options = tenant->BeginRequest();
  if (!options.ok()) return options.status();
  // Its constructor is private.
  return std::shared_ptr<TenantRequest>(new TenantRequest(std::move(tenant), *std::move(options)));
}

// Clients cannot set a salt, so it need be no secret, only its tenant's own.
std::string TenantRequest::cache_salt() const {
  return options_->share_cache ? "" : absl::StrCat("tenant ", tenant());
}

int64_t TenantRequest::PriorityOf(int64_t wished) const {
  return std::clamp(wished, options_->priority_min, options_->priority_max);
}

absl::Status TenantRequest::CheckModel(absl::string_view model) const {
  const auto allows = [&](const std::string& allowed) {
    return allowed == "*" || allowed == model;
  };
  if (absl::c_any_of(options_->models, allows)) return absl::OkStatus();
  return WithParam(absl::PermissionDeniedError(
                       absl::StrCat("Tenant ", tenant(), " may not use the model '", model, "'.")),
                   "model", "model_not_allowed");
}

absl::Status TenantRequest::TakeTokens(double tokens) {
  RETURN_IF_ERROR(tenant_->TakeTokens(tokens));
  taken_tokens_ += tokens;
  return absl::OkStatus();
}

std::vector<std::pair<std::string, std::string>> TenantRequest::RateLimitHeaders() const {
  if (!limits_tokens() && options_->requests_per_minute == 0) return {};
  return tenant_->RateLimitHeaders();
}

}  // namespace facet
