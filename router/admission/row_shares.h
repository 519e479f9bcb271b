#ifndef FACET_ROUTER_ADMISSION_ROW_SHARES_H_
#define FACET_ROUTER_ADMISSION_ROW_SHARES_H_

#include <cstdint>
#include <map>
#include <string>

namespace facet {

// A tenant that has answers at workers, or waits, or both.
struct RowUse {
  double weight = 1;  // Above 0.
  int64_t rows = 0;   // Answers at workers.
  bool waits = false;
};

// Of the tenants that wait, those that have fewer of the workers' `rows` than is theirs by weight
// among all in `uses`, and how many more whole rows that would be; all by name. A pure function.
// While one tenant alone is there it has none to claim: it has all rows.
std::map<std::string, int64_t> RowsToClaim(int64_t rows, const std::map<std::string, RowUse>& uses);

// How many answers of each tenant are at workers. Holds no lock.
class RowShares {
 public:
  void Begin(const std::string& tenant, double weight);
  // REQUIRES: it has begun one.
  void End(const std::string& tenant);
  // Of the tenants that have any, by name; of none it is said that it waits.
  const std::map<std::string, RowUse>& uses() const { return uses_; }

 private:
  std::map<std::string, RowUse> uses_;
};

}  // namespace facet

#endif  // FACET_ROUTER_ADMISSION_ROW_SHARES_H_
