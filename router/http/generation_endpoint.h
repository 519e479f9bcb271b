#ifndef FACET_ROUTER_HTTP_GENERATION_ENDPOINT_H_
#define FACET_ROUTER_HTTP_GENERATION_ENDPOINT_H_

#include <boost/asio/awaitable.hpp>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "router/admission/tenant.h"
#include "router/cluster/worker_pool.h"
#include "router/http/api_call.h"
#include "router/http/http_server.h"
#include "router/media/media_loader.h"
#include "router/metrics.h"

namespace facet {

// The JSON body of an error, in one API's form.
using ErrorBodyFunction = std::string (*)(const absl::Status& status);

// Is set when the client leaves, until writer.OnDisconnect is called again.
ClientLeft WatchClient(ResponseWriter& writer);

// With `tenant`, if it is not null, its limits are in the headers.
HttpResponse ErrorResponse(const absl::Status& status, ErrorBodyFunction error_body,
                           const TenantRequest* tenant = nullptr);

// Runs requests of all endpoints that generate: starts the generation, writes what comes of it as
// events or as one answer, cancels when the client leaves. A plain value; each call stays on its
// connection's strand.
struct GenerationEndpoint {
  WorkerPool& pool;
  MediaLoader& loader;
  RouterMetrics& metrics;
  // How long a stream may be silent before a comment is sent.
  int keep_alive_ms = 10'000;
  bool placement_headers = true;

  boost::asio::awaitable<void> Answer(const HttpRequest& request,
                                      std::shared_ptr<TenantRequest> tenant,
                                      absl::StatusOr<ApiCall> call, const char* endpoint,
                                      ErrorBodyFunction error_body, ResponseWriter& writer) const;

 private:
  HttpHeaders HeadersOf(const Generation& generation) const;
  boost::asio::awaitable<void> Stream(Generation& generation, AnswerForm& form,
                                      ErrorBodyFunction error_body, ResponseWriter& writer) const;
  boost::asio::awaitable<void> Whole(Generation& generation, AnswerForm& form,
                                     ErrorBodyFunction error_body, ResponseWriter& writer) const;
};

}  // namespace facet

#endif  // FACET_ROUTER_HTTP_GENERATION_ENDPOINT_H_
