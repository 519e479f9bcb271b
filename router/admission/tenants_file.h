#ifndef FACET_ROUTER_ADMISSION_TENANTS_FILE_H_
#define FACET_ROUTER_ADMISSION_TENANTS_FILE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace facet {

// Who may use the router, and how much of it.
struct TenantOptions {
  std::string name;  // Letters, digits, '.', '_' and '-', at most 64: a metric's label too.
  // SHA-256 of each API key, 32 bytes. Keys themselves stand nowhere.
  std::vector<std::string> key_digests;
  double weight = 1;  // Of its share while requests wait: [0.01, 1000].
  // 0: no limit.
  int64_t requests_per_minute = 0;
  int64_t tokens_per_minute = 0;
  int64_t concurrent_requests = 0;
  // What a request's `priority` is held to: the lower, the sooner.
  int64_t priority_min = 0, priority_max = 0;
  // Names as clients give them, MODEL or MODEL:ADAPTER; "*" allows all.
  std::vector<std::string> models = {"*"};
  // Its cached prefixes are those of all tenants that share. Who shares can learn by the time of an
  // answer whether another of them has sent a prompt that begins alike.
  bool share_cache = false;
};

// Reads the JSON of `--tenants`: {"tenants": [{"name": ..., "keys": [...], ...}, ...]}.
// INVALID_ARGUMENT names the field, also one that is unknown, a name or a key that comes twice.
absl::StatusOr<std::vector<TenantOptions>> ParseTenantsFile(absl::string_view text);

// SHA-256, 32 bytes.
std::string DigestOfKey(absl::string_view api_key);

}  // namespace facet

#endif  // FACET_ROUTER_ADMISSION_TENANTS_FILE_H_
