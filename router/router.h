#ifndef FACET_ROUTER_ROUTER_H_
#define FACET_ROUTER_ROUTER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/name_lookup.h"
#include "router/admission/admission_queue.h"
#include "router/admission/tenants.h"
#include "router/cluster/adapter_keeper.h"
#include "router/cluster/worker_client.h"
#include "router/cluster/worker_pool.h"
#include "router/http/http_api.h"
#include "router/http/http_server.h"
#include "router/media/media_loader.h"
#include "router/picker/endpoint_picker.h"

namespace facet {

struct RouterOptions {
  std::vector<std::string> workers;  // As ParseTarget; of a name, all its addresses are workers.
  bool accept_workers = false;       // That say themselves where they are (proto/registry.proto).
  int resolve_ms = 5'000;            // Between two looks at the addresses of names.
  int workers_max = 4096;
  BlockingNameLookup lookup = BlockingSystemLookup;
  HttpServerOptions http;  // Its error_body is set by the router.
  HttpApiOptions api;
  WorkerClientOptions worker;
  int stuck_ms = 30'000;  // A worker that has requests and is silent for so long is given up.
  FailoverOptions failover;
  TenantsOptions tenants;
  AdmissionQueue::Options queue;
  int queue_wait_ms = 600'000;        // That a request without a deadline waits there at most.
  int64_t index_pages_max = 1 << 20;  // Distinct cached pages that placement knows of.
  MediaLoaderOptions media;
  AdapterKeeperOptions adapters;
  EndpointPickerOptions picker;  // On the same host as HTTP.
  uint16_t grpc_port = 0;        // 0: the kernel picks. On the same host as HTTP.
  int threads = 2;
};

// A whole router in this process: its threads, its workers' connections, the HTTP and the gRPC
// server. The binary and the tests use it alike.
class Router {
 public:
  // UNAVAILABLE with what to do when a port is taken, INVALID_ARGUMENT for wrong options.
  static absl::StatusOr<std::unique_ptr<Router>> Start(RouterOptions options);
  // Stops at once if Stop was not called.
  virtual ~Router() = default;

  virtual uint16_t http_port() const = 0;
  virtual uint16_t grpc_port() const = 0;
  virtual int ext_proc_port() const = 0;  // -1: there is no endpoint picker.
  // Takes no more requests, lets those that run end within `drain_ms`, and stops. Blocks.
  virtual void Stop(int drain_ms) = 0;
};

}  // namespace facet

#endif  // FACET_ROUTER_ROUTER_H_
