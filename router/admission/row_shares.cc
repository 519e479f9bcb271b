#include "router/admission/row_shares.h"

#include <cmath>

#include "base/check.h"

namespace facet {

std::map<std::string, int64_t> RowsToClaim(int64_t rows,
                                           const std::map<std::string, RowUse>& uses) {
  std::map<std::string, int64_t> claims;
  if (uses.size() < 2) return claims;
  double weights = 0;
  for (const auto& [tenant, use] : uses) weights += use.weight;
  for (const auto& [tenant, use] : uses) {
    const auto share =
        static_cast<int64_t>(std::floor(static_cast<double>(rows) * use.weight / weights));
    if (use.waits && share > use.rows) claims[tenant] = share - use.rows;
  }
  return claims;
}

void RowShares::Begin(const std::string& tenant, double weight) {
  RowUse& use = uses_[tenant];
  use.weight = weight;
  ++use.rows;
}

void RowShares::End(const std::string& tenant) {
  const auto found = uses_.find(tenant);
  CHECK(found != uses_.end()) << "tenant " << tenant;
  if (--found->second.rows == 0) uses_.erase(found);
}

}  // namespace facet
