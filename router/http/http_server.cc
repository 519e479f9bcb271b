#include "router/http/http_server.h"

#include <array>
#include <atomic>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <chrono>
#include <optional>
#include <set>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/base/thread_annotations.h"
#include "absl/random/random.h"
#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "router/admission/bearer.h"

namespace facet {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using asio::ip::tcp;
using Clock = std::chrono::steady_clock;
using Parser = http::request_parser<http::string_body>;

constexpr auto kNoThrow = asio::as_tuple(asio::use_awaitable);
constexpr size_t kReadBytes = 16 << 10;
// What a client may send ahead while its request is answered; more waits in the kernel.
constexpr size_t kAheadBytesMax = 64 << 10;
// After an early refusal we read and drop what the client still sends for this long: closing at
// once would reset the connection, and the client might never see the answer.
constexpr int kLingerMs = 5'000;

absl::string_view View(beast::string_view text) { return {text.data(), text.size()}; }

bool IsUsableRequestId(absl::string_view id) {
  return !id.empty() && id.size() <= 128 && absl::c_all_of(id, [](char c) {
    return absl::ascii_isalnum(c) || c == '-' || c == '_' || c == '.';
  });
}

std::string NewRequestId() {
  static thread_local absl::BitGen random;
  return absl::StrFormat("req-%016x", absl::Uniform<uint64_t>(random));
}

void AppendHeaders(const HttpHeaders& headers, std::string& bytes) {
  for (const auto& [name, value] : headers) absl::StrAppend(&bytes, name, ": ", value, "\r\n");
}

class Server;

// One client. All of it runs on its strand. The server and pending operations share ownership;
// it is gone when the Run coroutine has ended and the last operation was cancelled.
class Connection final : public ResponseWriter, public std::enable_shared_from_this<Connection> {
 public:
  Connection(Server& server, tcp::socket socket)
      : server_(server),
        socket_(std::move(socket)),
        deadline_timer_(socket_.get_executor()),
        monitor_ended_(socket_.get_executor()) {}

  asio::awaitable<void> Run();
  // Ends the connection: now if it is idle or `at_once`, else after the running request.
  void Close(bool at_once);

  asio::any_io_executor executor() override { return socket_.get_executor(); }
  bool disconnected() const override { return disconnected_; }
  void OnDisconnect(std::function<void()> hook) override { disconnect_hook_ = std::move(hook); }
  asio::awaitable<void> Send(HttpResponse response) override;
  void StartEvents(const HttpHeaders& headers) override;
  bool started() const override { return started_; }
  asio::awaitable<void> WriteEvents(std::string events) override;
  asio::awaitable<void> FinishEvents() override;

 private:
  // Reads one request and answers it; false when the connection is to be closed.
  asio::awaitable<bool> AnswerOne();
  asio::awaitable<bool> ReadFirstByte();
  asio::awaitable<bool> ReadBody(Parser& parser);
  asio::awaitable<void> Refuse(int status, absl::string_view message);
  asio::awaitable<void> RefuseUnreadable(beast::error_code error);
  asio::awaitable<void> Linger();
  asio::awaitable<void> Write(std::string bytes);
  void ReadRequestLine(const Parser& parser);
  bool AnswerPreflight(const Parser& parser, HttpResponse* response) const;
  std::string CommonHeader(int status) const;

  // Watches for the client's end while a request is answered, and keeps what it sends ahead.
  void StartMonitor();
  asio::awaitable<void> StopMonitor();
  void SetDisconnected();

  void SetDeadline(int ms);
  void ClearDeadline() { deadline_ = Clock::time_point::max(); }
  void ArmDeadline();

  Server& server_;
  tcp::socket socket_;
  beast::flat_buffer buffer_;

  // One timer for all limits in turn; it is rearmed only when the deadline moves closer.
  asio::steady_timer deadline_timer_;
  Clock::time_point deadline_ = Clock::time_point::max();
  bool deadline_armed_ = false;
  bool timed_out_ = false;

  bool idle_ = true;
  bool closing_ = false;
  bool monitoring_ = false;
  bool stopping_monitor_ = false;
  asio::steady_timer monitor_ended_;  // Cancelled when the monitor's last read has reported.
  bool disconnected_ = false;
  std::function<void()> disconnect_hook_;

  // Of the running request.
  HttpRequest request_;
  std::string origin_;  // Of an allowed origin.
  bool keep_alive_ = false;
  bool chunked_ = true;  // False for HTTP/1.0.
  bool head_ = false;
  bool started_ = false;
  bool answered_ = false;
  std::string held_header_;  // Waits for the first event.
};

class Server final : public HttpServer {
 public:
  Server(asio::io_context& context, HttpServerOptions options, HttpHandler handler,
         tcp::acceptor acceptor)
      : options_(std::move(options)),
        handler_(std::move(handler)),
        context_(context),
        acceptor_(std::move(acceptor)),
        port_(acceptor_.local_endpoint().port()) {}
  ~Server() override { Stop(0); }

  uint16_t port() const override { return port_; }
  void Stop(int drain_ms) override;

  void Accept() { asio::co_spawn(acceptor_.get_executor(), AcceptLoop(), asio::detached); }
  const HttpServerOptions& options() const { return options_; }
  const HttpHandler& handler() const { return handler_; }

  // Room for a body, out of what all connections may hold together.
  bool TakeBodyBytes(size_t bytes) {
    if (body_bytes_.fetch_add(bytes) + bytes <= options_.all_bodies_bytes_max) return true;
    body_bytes_.fetch_sub(bytes);
    return false;
  }
  void ReturnBodyBytes(size_t bytes) { body_bytes_.fetch_sub(bytes); }

 private:
  asio::awaitable<void> AcceptLoop();
  void CloseAll(bool at_once);
  asio::awaitable<void> RunConnection(std::shared_ptr<Connection> connection);

  const HttpServerOptions options_;
  const HttpHandler handler_;
  asio::io_context& context_;
  tcp::acceptor acceptor_;  // On its own strand.
  const uint16_t port_;
  std::atomic<size_t> body_bytes_ = 0;

  absl::Mutex mutex_;
  bool accepting_ ABSL_GUARDED_BY(mutex_) = true;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  std::set<std::shared_ptr<Connection>> connections_ ABSL_GUARDED_BY(mutex_);
};

// ---------------------------------------------------------------- Connection

asio::awaitable<void> Connection::Run() {
  while (!closing_ && co_await AnswerOne()) {
  }
  ClearDeadline();
  deadline_timer_.cancel();
  beast::error_code ignored;
  socket_.shutdown(tcp::socket::shutdown_both, ignored);
  socket_.close(ignored);
}

asio::awaitable<bool> Connection::AnswerOne() {
  request_ = HttpRequest();
  origin_.clear();
  keep_alive_ = false;
  started_ = answered_ = head_ = false;
  chunked_ = true;
  held_header_.clear();

  idle_ = true;
  if (!co_await ReadFirstByte()) co_return false;
  idle_ = false;

  Parser parser;
  parser.header_limit(static_cast<uint32_t>(server_.options().header_bytes_max));
  parser.body_limit(server_.options().body_bytes_max);
  SetDeadline(server_.options().header_timeout_ms);
  const auto [error, bytes] = co_await http::async_read_header(socket_, buffer_, parser, kNoThrow);
  if (error) {
    co_await RefuseUnreadable(error);
    co_return false;
  }
  ReadRequestLine(parser);

  size_t body_bytes = 0;
  if (!parser.is_done()) {
    body_bytes = parser.content_length().value_or(server_.options().body_bytes_max);
    if (!server_.TakeBodyBytes(body_bytes)) {
      co_await Refuse(503, "Too many large requests at the same time; try again later.");
      co_return false;
    }
    if (!co_await ReadBody(parser)) {
      server_.ReturnBodyBytes(body_bytes);
      co_return false;
    }
  }
  ClearDeadline();
  request_.body = std::move(parser.get().body());

  HttpResponse preflight;
  if (AnswerPreflight(parser, &preflight)) {
    co_await Send(std::move(preflight));
  } else {
    StartMonitor();
    co_await server_.handler()(request_, *this);
    co_await StopMonitor();
    disconnect_hook_ = nullptr;
  }
  server_.ReturnBodyBytes(body_bytes);
  co_return keep_alive_&& answered_ && !disconnected_;
}

asio::awaitable<bool> Connection::ReadFirstByte() {
  if (buffer_.size() > 0) co_return true;
  SetDeadline(server_.options().idle_timeout_ms);
  const auto [error, bytes] =
      co_await socket_.async_read_some(buffer_.prepare(kReadBytes), kNoThrow);
  buffer_.commit(bytes);
  co_return !error;
}

asio::awaitable<bool> Connection::ReadBody(Parser& parser) {
  SetDeadline(server_.options().body_timeout_ms);
  if (absl::EqualsIgnoreCase(View(parser.get()[http::field::expect]), "100-continue")) {
    co_await Write("HTTP/1.1 100 Continue\r\n\r\n");
    SetDeadline(server_.options().body_timeout_ms);
  }
  const auto [error, bytes] = co_await http::async_read(socket_, buffer_, parser, kNoThrow);
  if (error) co_await RefuseUnreadable(error);
  co_return !error;
}

// Takes from the header what the answer depends on.
void Connection::ReadRequestLine(const Parser& parser) {
  const auto& message = parser.get();
  const absl::string_view target = View(message.target());
  request_.method = std::string(View(message.method_string()));
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(target, absl::MaxSplits('?', 1));
  request_.path = std::string(parts.first);
  request_.query = std::string(parts.second);
  request_.content_type = std::string(View(message[http::field::content_type]));
  const absl::string_view id = View(message["x-request-id"]);
  request_.request_id = IsUsableRequestId(id) ? std::string(id) : NewRequestId();
  absl::string_view key = View(message[http::field::authorization]);
  if (!ConsumeBearer(key)) key = View(message["x-api-key"]);
  request_.api_key = std::string(key);
  const absl::string_view origin = View(message[http::field::origin]);
  if (!origin.empty() &&
      absl::c_any_of(server_.options().allowed_origins, [&](const std::string& allowed) {
        return allowed == "*" || allowed == origin;
      })) {
    origin_ = std::string(origin);
  }
  keep_alive_ = message.keep_alive();
  chunked_ = message.version() >= 11;
  head_ = message.method() == http::verb::head;
  if (head_) request_.method = "GET";
}

// A browser asks with OPTIONS before it sends JSON to another origin.
bool Connection::AnswerPreflight(const Parser& parser, HttpResponse* response) const {
  if (parser.get().method() != http::verb::options || origin_.empty()) return false;
  response->status = 204;
  response->content_type.clear();
  response->headers = {{"Access-Control-Allow-Methods", "GET, POST, DELETE, OPTIONS"},
                       {"Access-Control-Allow-Headers",
                        "Authorization, Content-Type, X-Api-Key, X-Request-Id, "
                        "OpenAI-Organization, OpenAI-Project"},
                       {"Access-Control-Max-Age", "86400"}};
  return true;
}

asio::awaitable<void> Connection::RefuseUnreadable(beast::error_code error) {
  if (timed_out_) {
    timed_out_ = false;
    co_await Refuse(408, "The request did not arrive in time.");
  } else if (error == http::error::body_limit) {
    co_await Refuse(413, absl::StrCat("The request body is larger than ",
                                      server_.options().body_bytes_max, " bytes."));
  } else if (error == http::error::header_limit || error == http::error::buffer_overflow) {
    co_await Refuse(431, absl::StrCat("The request header is larger than ",
                                      server_.options().header_bytes_max, " bytes."));
  } else if (error.category() == http::make_error_code(http::error::bad_method).category() &&
             error != http::error::partial_message && error != http::error::end_of_stream) {
    co_await Refuse(400, absl::StrCat("This is not HTTP: ", error.message(), "."));
  }
}

// Answers an error by ourselves and gives up the connection.
asio::awaitable<void> Connection::Refuse(int status, absl::string_view message) {
  keep_alive_ = false;
  if (request_.request_id.empty()) request_.request_id = NewRequestId();
  HttpResponse response;
  response.status = status;
  if (server_.options().error_body) response.body = server_.options().error_body(status, message);
  if (status == 503) response.headers.emplace_back("Retry-After", "1");
  co_await Send(std::move(response));
  co_await Linger();
}

asio::awaitable<void> Connection::Linger() {
  beast::error_code ignored;
  socket_.shutdown(tcp::socket::shutdown_send, ignored);
  SetDeadline(kLingerMs);
  std::array<char, kReadBytes> dropped;
  for (;;) {
    const auto [error, bytes] = co_await socket_.async_read_some(asio::buffer(dropped), kNoThrow);
    if (error) co_return;
  }
}

// The status line and what all answers have; without the empty line that ends a header.
std::string Connection::CommonHeader(int status) const {
  const auto reason = http::obsolete_reason(static_cast<http::status>(status));
  std::string header =
      absl::StrCat("HTTP/1.1 ", status, " ", View(reason),
                   "\r\nServer: facet\r\nx-request-id: ", request_.request_id, "\r\n");
  if (!keep_alive_) absl::StrAppend(&header, "Connection: close\r\n");
  if (keep_alive_ && !chunked_) absl::StrAppend(&header, "Connection: keep-alive\r\n");
  if (!server_.options().allowed_origins.empty()) absl::StrAppend(&header, "Vary: Origin\r\n");
  if (!origin_.empty()) {
    absl::StrAppend(&header, "Access-Control-Allow-Origin: ", origin_,
                    "\r\nAccess-Control-Expose-Headers: x-request-id, retry-after, "
                    "x-facet-worker, x-facet-placement, x-ratelimit-limit-requests, "
                    "x-ratelimit-remaining-requests, x-ratelimit-reset-requests, "
                    "x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, "
                    "x-ratelimit-reset-tokens\r\n");
  }
  return header;
}

asio::awaitable<void> Connection::Send(HttpResponse response) {
  answered_ = true;
  if (closing_) keep_alive_ = false;
  std::string bytes = CommonHeader(response.status);
  AppendHeaders(response.headers, bytes);
  if (!response.content_type.empty()) {
    absl::StrAppend(&bytes, "Content-Type: ", response.content_type, "\r\n");
  }
  if (response.status != 204) {
    absl::StrAppend(&bytes, "Content-Length: ", response.body.size(), "\r\n");
  }
  absl::StrAppend(&bytes, "\r\n");
  if (!head_) absl::StrAppend(&bytes, response.body);
  co_await Write(std::move(bytes));
}

void Connection::StartEvents(const HttpHeaders& headers) {
  started_ = true;
  if (!chunked_ || closing_) keep_alive_ = false;
  held_header_ = CommonHeader(200);
  AppendHeaders(headers, held_header_);
  absl::StrAppend(&held_header_, "Content-Type: text/event-stream\r\nCache-Control: no-cache\r\n",
                  "X-Accel-Buffering: no\r\n", chunked_ ? "Transfer-Encoding: chunked\r\n" : "",
                  "\r\n");
}

asio::awaitable<void> Connection::WriteEvents(std::string events) {
  std::string bytes = std::exchange(held_header_, std::string());
  if (chunked_) {
    absl::StrAppend(&bytes, absl::Hex(events.size()), "\r\n", events, "\r\n");
  } else {
    absl::StrAppend(&bytes, events);
  }
  co_await Write(std::move(bytes));
}

asio::awaitable<void> Connection::FinishEvents() {
  answered_ = true;
  std::string bytes = std::exchange(held_header_, std::string());
  if (chunked_) absl::StrAppend(&bytes, "0\r\n\r\n");
  co_await Write(std::move(bytes));
}

asio::awaitable<void> Connection::Write(std::string bytes) {
  if (disconnected_ || bytes.empty()) co_return;
  SetDeadline(server_.options().write_timeout_ms);
  const auto [error, written] = co_await asio::async_write(socket_, asio::buffer(bytes), kNoThrow);
  ClearDeadline();
  if (error) SetDisconnected();
}

void Connection::StartMonitor() {
  if (buffer_.size() >= kAheadBytesMax) return;
  monitoring_ = true;
  socket_.async_read_some(buffer_.prepare(kReadBytes),
                          [self = shared_from_this()](beast::error_code error, size_t bytes) {
                            self->monitoring_ = false;
                            self->buffer_.commit(bytes);
                            if (self->stopping_monitor_) {
                              self->monitor_ended_.cancel();
                            } else if (error) {
                              self->SetDisconnected();
                            } else {
                              self->StartMonitor();
                            }
                          });
}

asio::awaitable<void> Connection::StopMonitor() {
  if (!monitoring_) co_return;
  stopping_monitor_ = true;
  beast::error_code ignored;
  socket_.cancel(ignored);
  // The cancelled read still has to report before the buffer may be used again.
  while (monitoring_) {
    monitor_ended_.expires_at(Clock::time_point::max());
    co_await monitor_ended_.async_wait(kNoThrow);
  }
  stopping_monitor_ = false;
}

void Connection::SetDisconnected() {
  if (disconnected_) return;
  disconnected_ = true;
  if (disconnect_hook_) disconnect_hook_();
}

void Connection::SetDeadline(int ms) {
  deadline_ = Clock::now() + std::chrono::milliseconds(ms);
  if (!deadline_armed_ || deadline_timer_.expiry() > deadline_) ArmDeadline();
}

void Connection::ArmDeadline() {
  deadline_armed_ = true;
  deadline_timer_.expires_at(deadline_);
  deadline_timer_.async_wait([self = shared_from_this()](beast::error_code error) {
    if (error) return;
    self->deadline_armed_ = false;
    if (self->deadline_ == Clock::time_point::max()) return;
    if (Clock::now() < self->deadline_) return self->ArmDeadline();
    self->timed_out_ = true;
    beast::error_code ignored;
    self->socket_.cancel(ignored);
  });
}

void Connection::Close(bool at_once) {
  closing_ = true;
  if (!idle_ && !at_once) return;
  beast::error_code ignored;
  socket_.shutdown(tcp::socket::shutdown_both, ignored);
  socket_.cancel(ignored);
  SetDisconnected();
}

// -------------------------------------------------------------------- Server

asio::awaitable<void> Server::AcceptLoop() {
  for (;;) {
    auto [error, socket] = co_await acceptor_.async_accept(asio::make_strand(context_), kNoThrow);
    if (error == asio::error::operation_aborted || !acceptor_.is_open()) break;
    if (error) {
      // Out of file descriptors, most likely: others must end first.
      asio::steady_timer pause(acceptor_.get_executor(), std::chrono::milliseconds(50));
      co_await pause.async_wait(kNoThrow);
      continue;
    }
    beast::error_code ignored;
    socket.set_option(tcp::no_delay(true), ignored);
    std::shared_ptr<Connection> connection;
    {
      absl::MutexLock lock(&mutex_);
      if (connections_.size() >= static_cast<size_t>(options_.connections_max)) continue;
      // `socket` brings the strand that the connection lives on.
      connection = std::make_shared<Connection>(*this, std::move(socket));
      connections_.insert(connection);
    }
    asio::co_spawn(connection->executor(), RunConnection(connection), asio::detached);
  }
  absl::MutexLock lock(&mutex_);
  accepting_ = false;
}

asio::awaitable<void> Server::RunConnection(std::shared_ptr<Connection> connection) {
  co_await connection->Run();
  absl::MutexLock lock(&mutex_);
  connections_.erase(connection);
}

void Server::CloseAll(bool at_once) {
  absl::MutexLock lock(&mutex_);
  for (const std::shared_ptr<Connection>& connection : connections_) {
    asio::post(connection->executor(), [connection, at_once] { connection->Close(at_once); });
  }
}

void Server::Stop(int drain_ms) {
  {
    absl::MutexLock lock(&mutex_);
    if (stopped_) return;
    stopped_ = true;
  }
  asio::post(acceptor_.get_executor(), [this] {
    beast::error_code ignored;
    acceptor_.close(ignored);
  });
  const auto not_accepting = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return !accepting_; };
  const auto empty = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return connections_.empty(); };
  {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(&not_accepting));
  }
  CloseAll(/*at_once=*/false);
  {
    absl::MutexLock lock(&mutex_);
    if (mutex_.AwaitWithTimeout(absl::Condition(&empty), absl::Milliseconds(drain_ms))) return;
  }
  CloseAll(/*at_once=*/true);
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(&empty));
}

}  // namespace

std::string EventText(absl::string_view data) { return absl::StrCat("data: ", data, "\n\n"); }

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(asio::io_context& context,
                                                              HttpServerOptions options,
                                                              HttpHandler handler) {
  beast::error_code error;
  const asio::ip::address address = asio::ip::make_address(options.host, error);
  if (error) {
    return absl::InvalidArgumentError(
        absl::StrCat("--host=", options.host, " is no IP address: ", error.message()));
  }
  const tcp::endpoint endpoint(address, options.port);
  tcp::acceptor acceptor(asio::make_strand(context));
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(1024, error);
  if (error) {
    return absl::UnavailableError(absl::StrCat("cannot listen on ", options.host, " port ",
                                               options.port, ": ", error.message(),
                                               "; stop what uses it or choose another --port"));
  }
  auto server = std::make_unique<Server>(context, std::move(options), std::move(handler),
                                         std::move(acceptor));
  server->Accept();
  return server;
}

}  // namespace facet
