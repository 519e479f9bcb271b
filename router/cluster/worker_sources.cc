#include "router/cluster/worker_sources.h"

namespace facet {

WantedWorkers WorkersOf(const WorkerSources& sources, size_t workers_max, size_t* left_out) {
  WantedWorkers wanted;
  *left_out = 0;
  const auto add = [&](const std::string& address, bool WorkerOrigins::* origin) {
    if (wanted.size() >= workers_max && wanted.count(address) == 0) {
      ++*left_out;
      return;
    }
    wanted[address].*origin = true;
  };
  for (const std::string& address : sources.listed) add(address, &WorkerOrigins::listed);
  for (const std::string& address : sources.resolved) add(address, &WorkerOrigins::resolved);
  for (const auto& [address, registration] : sources.registered) {
    if (registration.calls > 0 || registration.connected) add(address, &WorkerOrigins::registered);
  }
  return wanted;
}

}  // namespace facet
