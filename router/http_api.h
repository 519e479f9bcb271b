#ifndef FACET_ROUTER_HTTP_API_H_
#define FACET_ROUTER_HTTP_API_H_

#include <boost/asio/awaitable.hpp>
#include <string>

#include "absl/status/status.h"
#include "router/generation.h"
#include "router/http_server.h"
#include "router/media_loader.h"
#include "router/metrics.h"
#include "router/worker_pool.h"

namespace facet {

struct HttpApiOptions {
  // How long a stream may be silent before a comment is sent, so that nothing between us and the
  // client takes it for dead.
  int keep_alive_ms = 10'000;
};

// What each path of the HTTP port answers: OpenAI's API, vLLM's /tokenize and /detokenize, health
// and metrics. Safe to use from any thread; each request stays on its connection's strand.
class HttpApi {
 public:
  // `pool`, `loader` and `metrics` must outlive it.
  HttpApi(WorkerPool& pool, MediaLoader& loader, RouterMetrics& metrics,
          const HttpApiOptions& options)
      : pool_(pool), loader_(loader), metrics_(metrics), options_(options) {}

  boost::asio::awaitable<void> Handle(const HttpRequest& request, ResponseWriter& writer);

 private:
  // Answers that need no waiting.
  HttpResponse Models(const HttpRequest& request) const;
  HttpResponse Health(const HttpRequest& request) const;
  HttpResponse Readiness(const HttpRequest& request) const;
  HttpResponse Metrics(const HttpRequest& request) const;
  HttpResponse Detokenize(const HttpRequest& request) const;

  boost::asio::awaitable<void> Tokenize(const HttpRequest& request, ResponseWriter& writer);
  // The request's media, decoded; gives up when the client leaves.
  boost::asio::awaitable<absl::Status> LoadMedia(GenerationRequest& request,
                                                 ResponseWriter& writer);
  boost::asio::awaitable<void> Generate(const HttpRequest& request, ResponseWriter& writer,
                                        bool chat);
  boost::asio::awaitable<void> Stream(Generation& generation, ResponseWriter& writer, bool chat);
  boost::asio::awaitable<void> Whole(Generation& generation, ResponseWriter& writer, bool chat);

  WorkerPool& pool_;
  MediaLoader& loader_;
  RouterMetrics& metrics_;
  const HttpApiOptions options_;
};

}  // namespace facet

#endif  // FACET_ROUTER_HTTP_API_H_
