#ifndef FACET_ROUTER_HTTP_HTTP_API_H_
#define FACET_ROUTER_HTTP_HTTP_API_H_

#include <boost/asio/awaitable.hpp>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "router/admission/tenants.h"
#include "router/api/known_fields.h"
#include "router/api/openapi.h"
#include "router/api/response_store.h"
#include "router/cluster/adapter_keeper.h"
#include "router/cluster/worker_pool.h"
#include "router/http/adapter_endpoints.h"
#include "router/http/generation_endpoint.h"
#include "router/http/http_server.h"
#include "router/media/media_loader.h"
#include "router/metrics.h"
#include "router/replicas_wanted.h"

namespace facet {

struct HttpApiOptions {
  // How long a stream may be silent before a comment is sent, so that nothing between us and the
  // client takes it for dead.
  int keep_alive_ms = 10'000;
  // Say in headers which worker an answer comes from, and why.
  bool placement_headers = true;
  ResponseStoreOptions responses;
  bool allow_adapter_loading = false;
};

// Which path of the HTTP port is answered by what: OpenAI's and Anthropic's APIs, vLLM's /tokenize
// and /detokenize, health and metrics. Safe to use from any thread; each request stays on its
// connection's strand.
class HttpApi {
 public:
  // What is given by reference must outlive it.
  HttpApi(WorkerPool& pool, const Tenants& tenants, MediaLoader& loader, RouterMetrics& metrics,
          AdapterKeeper& keeper, const HttpApiOptions& options)
      : pool_(pool),
        tenants_(tenants),
        loader_(loader),
        metrics_(metrics),
        responses_(options.responses),
        adapters_{pool, keeper, options.allow_adapter_loading},
        generate_{pool, loader, metrics, options.keep_alive_ms, options.placement_headers},
        known_fields_(OpenApiDocument()) {}

  // The method and path of each route; a path that ends in a slash has a name behind it.
  static std::vector<std::pair<std::string, std::string>> Routes();

  boost::asio::awaitable<void> Handle(const HttpRequest& request, ResponseWriter& writer);

 private:
  struct Route;
  // Whose the request is; null for routes that are open to all. UNAUTHENTICATED, or
  // RESOURCE_EXHAUSTED as TenantRequest::Begin.
  absl::StatusOr<std::shared_ptr<TenantRequest>> Admit(const Route& route,
                                                       const HttpRequest& request);
  // At log level debug: what in the body has no effect.
  void LogUnknownFields(const HttpRequest& request);
  static const Route kRoutes[];
  // Everything that is counted, with the gauges that are computed when somebody asks.
  std::string MetricsText() ABSL_LOCKS_EXCLUDED(mutex_);

  WorkerPool& pool_;
  const Tenants& tenants_;
  MediaLoader& loader_;
  RouterMetrics& metrics_;
  ResponseStore responses_;
  const AdapterEndpoints adapters_;
  const GenerationEndpoint generate_;
  KnownFields known_fields_;
  absl::Mutex mutex_;
  ReplicasWanted replicas_wanted_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace facet

#endif  // FACET_ROUTER_HTTP_HTTP_API_H_
