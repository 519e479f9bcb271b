#ifndef FACET_ROUTER_CLUSTER_WORKER_SOURCES_H_
#define FACET_ROUTER_CLUSTER_WORKER_SOURCES_H_

#include <cstddef>
#include <map>
#include <set>
#include <string>

namespace facet {

// Where a worker is known from.
struct WorkerOrigins {
  bool listed = false;      // --workers has its address.
  bool resolved = false;    // --workers has a name with its address.
  bool registered = false;  // It said so itself.
  bool operator==(const WorkerOrigins& other) const = default;
};

// The workers that there shall be, by address.
using WantedWorkers = std::map<std::string, WorkerOrigins>;

// All that is known of where workers are.
struct WorkerSources {
  struct Registration {
    int calls = 0;  // Register calls that live: it may have begun one before the last ended.
    bool connected = false;  // It takes this router's requests.
    bool operator==(const Registration& other) const = default;
  };
  std::set<std::string> listed, resolved;
  std::map<std::string, Registration> registered;  // By address.
};

// A pure function. A worker whose last call has ended stays while it is connected: a call may end
// for reasons of its own. At most `workers_max`, those of the list first, then those of names, then
// those that registered, in the order of their addresses; how many there was no room for goes to
// `left_out`.
WantedWorkers WorkersOf(const WorkerSources& sources, size_t workers_max, size_t* left_out);

}  // namespace facet

#endif  // FACET_ROUTER_CLUSTER_WORKER_SOURCES_H_
