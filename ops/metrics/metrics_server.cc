#include "ops/metrics/metrics_server.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/system/system_error.hpp>
#include <chrono>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/listen_address.h"

namespace facet {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
// Of a request, which has no body, and of silence between two scrapes.
constexpr size_t kRequestBytesMax = 16 << 10;
constexpr std::chrono::seconds kSilenceMax{90};
constexpr std::chrono::milliseconds kAcceptPause{100};
// Prometheus keeps one each; a few more for people and probes.
constexpr int kConnectionsMax = 64;

class BeastServer final : public MetricsServer {
 public:
  // Throws what Asio throws if the address cannot be listened on.
  BeastServer(const std::string& host, int port, const MetricRegistry& registry)
      : registry_(registry),
        acceptor_(context_, *tcp::resolver(context_).resolve(host, std::to_string(port)).begin()) {
    asio::co_spawn(context_, Accept(), asio::detached);
    thread_ = std::thread([this] { context_.run(); });
  }

  ~BeastServer() override {
    context_.stop();
    thread_.join();
  }

  int port() const override { return acceptor_.local_endpoint().port(); }

 private:
  asio::awaitable<void> Accept() {
    while (true) {
      auto [error, socket] = co_await acceptor_.async_accept(kAwait);
      if (error) {
        // Out of files, most likely: until some are closed, to ask at once again would only spin.
        asio::steady_timer pause(context_, kAcceptPause);
        co_await pause.async_wait(kAwait);
        continue;
      }
      if (connections_ == kConnectionsMax) continue;  // closes it
      ++connections_;
      asio::co_spawn(context_, Serve(beast::tcp_stream(std::move(socket))), asio::detached);
    }
  }

  asio::awaitable<void> Serve(beast::tcp_stream stream) {
    beast::flat_buffer buffer(kRequestBytesMax);
    while (true) {
      http::request<http::empty_body> request;
      stream.expires_after(kSilenceMax);
      const auto [read_error, read] = co_await http::async_read(stream, buffer, request, kAwait);
      if (read_error) break;
      http::response<http::string_body> response = Answer(request);
      const auto [write_error, written] = co_await http::async_write(stream, response, kAwait);
      if (write_error || !response.keep_alive()) break;
    }
    --connections_;
  }

  http::response<http::string_body> Answer(const http::request<http::empty_body>& request) const {
    const beast::string_view path = request.target().substr(0, request.target().find('?'));
    http::response<http::string_body> response(http::status::ok, request.version());
    response.set(http::field::content_type, kMetricsContentType);
    if (path != "/metrics") {
      response.result(http::status::not_found);
      response.body() = "Only /metrics is here.\n";
    } else if (request.method() != http::verb::get) {
      response.result(http::status::method_not_allowed);
      response.set(http::field::allow, "GET");
    } else {
      response.body() = registry_.Text();
    }
    response.keep_alive(request.keep_alive());
    response.prepare_payload();
    return response;
  }

  const MetricRegistry& registry_;
  asio::io_context context_{1};
  tcp::acceptor acceptor_;
  int connections_ = 0;  // The thread's.
  std::thread thread_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<MetricsServer>> MetricsServer::Start(
    const std::string& host, int port, const MetricRegistry& registry) {
  try {
    return std::make_unique<BeastServer>(host, port, registry);
  } catch (const boost::system::system_error& error) {
    return absl::UnavailableError(absl::StrCat("cannot listen on ", ListenAddress(host, port),
                                               " for metrics: ", error.code().message()));
  }
}

}  // namespace facet
