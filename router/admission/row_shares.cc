#include "router/admission/row_shares.h"

#include <cmath>

#include "base/check.h"

namespace facet {

std::map<std::string, int64_t> RowsToClaim(int64_t rows, const std::vector<RowUse>& uses) {
  double weights = 0;
  for (const RowUse& use : uses) weights += use.weight;
  std::map<std::string, int64_t> claims;
  if (uses.size() < 2) return claims;
  for (const RowUse& use : uses) {
    const auto share =
        static_cast<int64_t>(std::floor(static_cast<double>(rows) * use.weight / weights));
    if (use.waits && share > use.rows) claims[use.tenant] = share - use.rows;
  }
  return claims;
}

void RowShares::Begin(const std::string& tenant, double weight) {
  RowUse& use = uses_[tenant];
  use.tenant = tenant;
  use.weight = weight;
  ++use.rows;
}

void RowShares::End(const std::string& tenant) {
  const auto found = uses_.find(tenant);
  CHECK(found != uses_.end()) << "tenant " << tenant;
  if (--found->second.rows == 0) uses_.erase(found);
}

}  // namespace facet
