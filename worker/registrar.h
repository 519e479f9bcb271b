#ifndef FACET_WORKER_REGISTRAR_H_
#define FACET_WORKER_REGISTRAR_H_

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "base/name_lookup.h"
#include "base/target.h"

namespace facet {

struct RegistrarOptions {
  std::vector<Target> routers;  // Their gRPC ports; of a name, all its addresses are told.
  std::string address;          // host:port where routers and other workers reach this worker.
  int resolve_ms = 5'000;
  size_t routers_max = 64;  // A thread each; those beyond are not told.
  // Between tries to tell a router; doubled each time.
  int backoff_ms_min = 100;
  int backoff_ms_max = 2'000;
  BlockingNameLookup lookup = BlockingSystemLookup;
};

// Makes a worker known to routers (proto/registry.proto) for as long as it lives: tells each again
// when it comes back, and new ones as names get new addresses. Logs what keeps a router from taking
// it, once for each kind of trouble.
class Registrar {
 public:
  static std::unique_ptr<Registrar> Start(RegistrarOptions options);
  // Ends all calls.
  virtual ~Registrar() = default;

  // How many routers have taken this worker. For tests.
  virtual int registered_count() const = 0;
};

}  // namespace facet

#endif  // FACET_WORKER_REGISTRAR_H_
