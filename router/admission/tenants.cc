#include "router/admission/tenants.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <limits>
#include <sstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "router/api/api_error.h"

namespace facet {

absl::StatusOr<std::unique_ptr<Tenants>> Tenants::Start(TenantsOptions options,
                                                        RouterMetrics& metrics) {
  // Its constructor is private.
  std::unique_ptr<Tenants> tenants(new Tenants(std::move(options), metrics));
  if (tenants->options_.file.empty()) return tenants;
  {
    absl::MutexLock lock(&tenants->look_mutex_);
    tenants->read_ = tenants->StampOfFile();
    RETURN_IF_ERROR(tenants->BlockingRead());
  }
  tenants->thread_ = std::thread([&loop = *tenants] { loop.Loop(); });
  return tenants;
}

Tenants::Tenants(TenantsOptions options, RouterMetrics& metrics)
    : options_(std::move(options)), metrics_(metrics), anonymous_([&]() -> std::shared_ptr<Tenant> {
        if (!options_.file.empty()) return nullptr;
        TenantOptions unlimited;
        unlimited.name = "anonymous";
        unlimited.priority_min = std::numeric_limits<int32_t>::min();
        unlimited.priority_max = std::numeric_limits<int32_t>::max();
        unlimited.share_cache = true;
        return std::make_shared<Tenant>(unlimited, metrics.OfTenant(unlimited.name));
      }()) {}

Tenants::~Tenants() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

// A look-up by digest takes no time from which a key could be guessed: how long a comparison of
// digests takes says something of SHA-256(guess), which nobody can choose, and nothing of the key.
absl::StatusOr<std::shared_ptr<Tenant>> Tenants::Find(absl::string_view api_key) const {
  if (anonymous_ != nullptr) return anonymous_;
  if (api_key.empty()) {
    return WithParam(
        absl::UnauthenticatedError("An API key is required: send `Authorization: Bearer KEY` or "
                                   "`x-api-key: KEY`."),
        "", "missing_api_key");
  }
  const std::string digest = DigestOfKey(api_key);
  absl::ReaderMutexLock lock(&mutex_);
  const auto found = by_key_.find(digest);
  if (found != by_key_.end()) return found->second;
  return WithParam(absl::UnauthenticatedError("The API key is not known here."), "",
                   "invalid_api_key");
}

void Tenants::BlockingLook() {
  absl::MutexLock lock(&look_mutex_);
  const Stamp stamp = StampOfFile();
  if (stamp == read_) return;
  // Before it is read: what changes meanwhile is read again.
  read_ = stamp;
  const absl::Status read = BlockingRead();
  if (read.ok()) {
    LogInfo("tenants read", {{"file", options_.file}});
  } else {
    LogError("tenants not read; those of before stay",
             {{"file", options_.file}, {"reason", absl::string_view(read.message())}});
  }
}

Tenants::Stamp Tenants::StampOfFile() const {
  struct stat status;
  if (stat(options_.file.c_str(), &status) != 0) return Stamp();
  return {static_cast<int64_t>(status.st_ino), static_cast<int64_t>(status.st_size),
          status.st_mtim.tv_sec * 1'000'000'000 + status.st_mtim.tv_nsec};
}

absl::Status Tenants::BlockingRead() {
  std::ifstream file(options_.file, std::ios::binary);
  std::ostringstream text;
  if (file) text << file.rdbuf();
  if (!file) {
    return absl::NotFoundError(
        absl::StrCat("--tenants=", options_.file, " cannot be read: ", std::strerror(errno)));
  }
  absl::StatusOr<std::vector<TenantOptions>> tenants = ParseTenantsFile(text.str());
  if (!tenants.ok()) {
    return absl::Status(tenants.status().code(), absl::StrCat("--tenants=", options_.file, ": ",
                                                              tenants.status().message()));
  }
  Use(*std::move(tenants));
  return absl::OkStatus();
}

void Tenants::Use(std::vector<TenantOptions> tenants) {
  absl::flat_hash_map<std::string, std::shared_ptr<Tenant>> by_key;
  for (TenantOptions& options : tenants) {
    std::shared_ptr<Tenant>& tenant = by_name_[options.name];
    const std::vector<std::string> digests = options.key_digests;
    if (tenant == nullptr) {
      tenant = std::make_shared<Tenant>(options, metrics_.OfTenant(options.name));
    } else {
      tenant->Update(std::move(options));
    }
    for (const std::string& digest : digests) by_key[digest] = tenant;
  }
  absl::MutexLock lock(&mutex_);
  by_key_ = std::move(by_key);
}

void Tenants::Loop() {
  for (;;) {
    {
      absl::MutexLock lock(&mutex_);
      if (mutex_.AwaitWithTimeout(absl::Condition(&stopping_), options_.look_interval)) return;
    }
    BlockingLook();
  }
}

}  // namespace facet
