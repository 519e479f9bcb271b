#include "ops/cli/event_stream.h"

#include <pthread.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <boost/json.hpp>
#include <csignal>
#include <exception>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "model/json.h"

namespace facet {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using asio::ip::tcp;

// Of an error's body.
std::string MessageOf(const std::string& body) {
  const auto parsed = ParseJson(body, "the answer");
  if (parsed.ok() && parsed->is_object()) {
    if (const auto* error = parsed->as_object().if_contains("error");
        error != nullptr && error->is_object()) {
      if (const auto* message = error->as_object().if_contains("message");
          message != nullptr && message->is_string()) {
        return std::string(message->as_string());
      }
    }
  }
  return body;
}

class Exchange {
 public:
  Exchange(const ServerAddress& server, http::request<http::string_body> request,
           const std::function<void(absl::string_view)>& on_data)
      : server_(server), request_(std::move(request)), on_data_(on_data), socket_(context_) {}

  absl::Status BlockingRun() {
    // Ctrl-C is ours while this runs; the process has it blocked.
    sigset_t interrupt, before;
    sigemptyset(&interrupt);
    sigaddset(&interrupt, SIGINT);
    asio::signal_set signals(context_, SIGINT);
    pthread_sigmask(SIG_UNBLOCK, &interrupt, &before);
    const absl::Cleanup restore = [&] { pthread_sigmask(SIG_SETMASK, &before, nullptr); };
    signals.async_wait([this](const boost::system::error_code& error, int) {
      if (error) return;
      status_ = absl::CancelledError("stopped");
      context_.stop();
    });
    asio::co_spawn(context_, Talk(), [&](const std::exception_ptr& failure) {
      signals.cancel();
      if (failure == nullptr) return;
      try {
        std::rethrow_exception(failure);
      } catch (const std::exception& error) {
        status_ = absl::UnavailableError(
            absl::StrCat(server_.host, ":", server_.port, ": ", error.what()));
      }
    });
    context_.run();
    return status_;
  }

 private:
  asio::awaitable<void> Talk() {
    tcp::resolver resolver(context_);
    const auto addresses =
        co_await resolver.async_resolve(server_.host, server_.port, asio::use_awaitable);
    co_await asio::async_connect(socket_, addresses, asio::use_awaitable);
    co_await http::async_write(socket_, request_, asio::use_awaitable);
    boost::beast::flat_buffer buffer;
    http::response_parser<http::string_body> parser;
    parser.body_limit(boost::none);
    co_await http::async_read_header(socket_, buffer, parser, asio::use_awaitable);
    const bool good = parser.get().result() == http::status::ok;
    while (!parser.is_done()) {
      co_await http::async_read_some(socket_, buffer, parser, asio::use_awaitable);
      if (good) TakeEvents(std::exchange(parser.get().body(), ""));
    }
    if (!good) status_ = absl::UnknownError(MessageOf(parser.get().body()));
  }

  void TakeEvents(const std::string& bytes) {
    unread_ += bytes;
    for (size_t end; (end = unread_.find('\n')) != std::string::npos;) {
      const std::string line = unread_.substr(0, end);
      unread_.erase(0, end + 1);
      absl::string_view data = line;
      if (absl::ConsumePrefix(&data, "data: ")) on_data_(data);
    }
  }

  const ServerAddress& server_;
  const http::request<http::string_body> request_;
  const std::function<void(absl::string_view)>& on_data_;
  asio::io_context context_;
  tcp::socket socket_;
  std::string unread_;
  absl::Status status_;
};

}  // namespace

absl::StatusOr<ServerAddress> ParseServerAddress(absl::string_view url) {
  absl::string_view rest = url;
  const bool is_http = absl::ConsumePrefix(&rest, "http://");
  absl::ConsumeSuffix(&rest, "/");
  const size_t colon = rest.rfind(':');
  ServerAddress address{std::string(rest.substr(0, colon)),
                        colon == rest.npos ? "80" : std::string(rest.substr(colon + 1))};
  uint32_t port;
  if (!is_http || address.host.empty() || absl::StrContains(rest, '/') ||
      !absl::SimpleAtoi(address.port, &port) || port == 0 || port > 65535) {
    return absl::InvalidArgumentError(
        absl::StrCat("--url=", url, " is not http://HOST[:PORT] of a server"));
  }
  return address;
}

absl::Status BlockingPostForEvents(const ServerAddress& server, const std::string& path,
                                   const std::string& body,
                                   const std::function<void(absl::string_view)>& on_data) {
  http::request<http::string_body> request(http::verb::post, path, 11, body);
  request.set(http::field::host, absl::StrCat(server.host, ":", server.port));
  request.set(http::field::content_type, "application/json");
  request.set(http::field::connection, "close");
  request.prepare_payload();
  return Exchange(server, std::move(request), on_data).BlockingRun();
}

}  // namespace facet
