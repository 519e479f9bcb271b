#ifndef FACET_ROUTER_PICKER_ENDPOINT_PICKER_H_
#define FACET_ROUTER_PICKER_ENDPOINT_PICKER_H_

#include <boost/asio/io_context.hpp>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "router/cluster/worker_pool.h"
#include "router/media/media_loader.h"

namespace facet {

struct EndpointPickerOptions {
  int port = -1;             // To listen on; 0: the kernel picks; -1: there is no picker.
  int endpoint_port = 9379;  // Of the HTTP server beside each worker.
  size_t body_bytes_max = 32 << 20;
};

// A gRPC server for gateways that send requests themselves and ask where to: Envoy's external
// processing, as the Gateway API inference extension has it (router/picker/ext_proc_exchange.h).
// The answer is Facet's own placement, by workers' caches and load. A body that cannot be read as a
// prompt goes where the least is to do: the endpoint there says what is wrong with it.
//
// Health checks know the services "liveness", "readiness" (some worker takes requests) and
// "envoy.service.ext_proc.v3.ExternalProcessor" (the same).
class EndpointPicker {
 public:
  // UNAVAILABLE with what to do if the port is taken. All must outlive it; `context` must run until
  // Stop has returned.
  static absl::StatusOr<std::unique_ptr<EndpointPicker>> Start(
      boost::asio::io_context& context, WorkerPool& pool, MediaLoader& loader,
      const std::string& host, const EndpointPickerOptions& options);
  virtual ~EndpointPicker() = default;
  virtual int port() const = 0;
  // Ends what still runs, and listens no more. Blocks; not on a thread of `context`.
  virtual void Stop() = 0;
};

}  // namespace facet

#endif  // FACET_ROUTER_PICKER_ENDPOINT_PICKER_H_
