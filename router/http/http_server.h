#ifndef FACET_ROUTER_HTTP_HTTP_SERVER_H_
#define FACET_ROUTER_HTTP_HTTP_SERVER_H_

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace facet {

// A small HTTP/1.1 server: bounded, keep-alive, whole answers and server-sent events. It knows
// nothing of what is served.

struct HttpServerOptions {
  std::string host = "0.0.0.0";
  uint16_t port = 0;  // 0: the kernel picks.

  // Limits. Beyond them a client gets 413, 431, 408 or 503 and the connection is closed.
  size_t header_bytes_max = 64 << 10;
  size_t body_bytes_max = 32 << 20;
  size_t all_bodies_bytes_max = 1 << 30;  // of all connections together
  int connections_max = 10'000;

  // Slow clients. A client that is silent between requests is closed without a word.
  int idle_timeout_ms = 75'000;
  int header_timeout_ms = 10'000;  // from a request's first byte to the end of its header
  int body_timeout_ms = 60'000;
  int write_timeout_ms = 30'000;  // of one write

  // Browsers: origins that may read answers (CORS); "*" allows all.
  std::vector<std::string> allowed_origins;

  // The JSON body of an error that the server itself answers.
  std::function<std::string(int status, absl::string_view message)> error_body;
};

struct HttpRequest {
  std::string method;
  std::string path;          // Without the query.
  std::string query;         // Behind the question mark; may be empty.
  std::string content_type;  // Of the body; may be empty.
  std::string body;
  std::string request_id;  // The client's x-request-id, or a new one.
  // Of `Authorization: Bearer KEY`, else of `x-api-key: KEY`; may be empty.
  std::string api_key;
};

// Names and values.
using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  HttpHeaders headers = {};
};

// How a handler answers one request: either Send once, or StartEvents, WriteEvents any number of
// times, FinishEvents. Belongs to the connection; used on its executor only, which is a strand, so
// a handler and what it posts there never run at the same time.
class ResponseWriter {
 public:
  virtual ~ResponseWriter() = default;

  virtual boost::asio::any_io_executor executor() = 0;
  // True once the client went away or did not read for write_timeout_ms; then writing does nothing.
  virtual bool disconnected() const = 0;
  // `hook` runs on the executor as soon as the client goes away, also while nothing is written.
  // An empty function takes it back; what it refers to must live until then.
  virtual void OnDisconnect(std::function<void()> hook) = 0;

  virtual boost::asio::awaitable<void> Send(HttpResponse response) = 0;

  // With `headers` besides the usual ones. Puts off the header until the first bytes are written,
  // so that both go in one packet.
  virtual void StartEvents(const HttpHeaders& headers) = 0;
  virtual bool started() const = 0;
  // `events` is one or more whole events or comments, as EventText and kKeepAlive make them.
  // Returns when the kernel has taken them: a slow client holds its writer up.
  virtual boost::asio::awaitable<void> WriteEvents(std::string events) = 0;
  virtual boost::asio::awaitable<void> FinishEvents() = 0;
};

// "data: ...\n\n". REQUIRES: no line break in `data` (JSON text has none).
std::string EventText(absl::string_view data);
inline constexpr absl::string_view kKeepAlive = ": keep-alive\n\n";

using HttpHandler =
    std::function<boost::asio::awaitable<void>(const HttpRequest& request, ResponseWriter& writer)>;

// Listens from Start until Stop. `context` is run by the caller's threads and must outlive the
// server. `handler` is called for each request, for different connections at the same time.
class HttpServer {
 public:
  // UNAVAILABLE with what to do when the port is taken; INVALID_ARGUMENT for a bad host.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(boost::asio::io_context& context,
                                                           HttpServerOptions options,
                                                           HttpHandler handler);
  // Blocks as Stop(0) does if Stop was not called.
  virtual ~HttpServer() = default;

  virtual uint16_t port() const = 0;

  // Takes no more connections, closes idle ones, gives running requests `drain_ms` to end, then
  // cuts them off. Blocks until the last is gone. REQUIRES: `context` still runs; not one of its
  // threads.
  virtual void Stop(int drain_ms) = 0;
};

}  // namespace facet

#endif  // FACET_ROUTER_HTTP_HTTP_SERVER_H_
