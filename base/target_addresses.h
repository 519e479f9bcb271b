#ifndef FACET_BASE_TARGET_ADDRESSES_H_
#define FACET_BASE_TARGET_ADDRESSES_H_

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <set>
#include <string>
#include <vector>

#include "base/name_lookup.h"
#include "base/target.h"

namespace facet {

// The addresses, as host:port, that a list of targets stands for, as last heard of. Not
// thread-safe: everything on one strand.
class TargetAddresses {
 public:
  TargetAddresses(const std::vector<Target>& targets, BlockingNameLookup lookup);

  // Whether there is a name to resolve.
  bool has_names() const { return !names_.empty(); }
  // Asks for the addresses of all names, each within `time_limit`. Where the answer is an error or
  // has none, those that were known stay, which is logged once until a name has an answer again.
  // Returns early if the coroutine is cancelled.
  boost::asio::awaitable<void> Resolve(std::chrono::steady_clock::duration time_limit);

  const std::set<std::string>& listed() const { return listed_; }
  std::set<std::string> resolved() const;

 private:
  struct Name {
    Target target;
    std::set<std::string> addresses;
    bool in_trouble = false;
  };
  static void Take(const absl::StatusOr<Addresses>& answer, Name& name);

  const BlockingNameLookup lookup_;
  std::set<std::string> listed_;
  std::vector<Name> names_;
};

}  // namespace facet

#endif  // FACET_BASE_TARGET_ADDRESSES_H_
