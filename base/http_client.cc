#include "base/http_client.h"

#include <openssl/ssl.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/error.hpp>
#include <boost/asio/ssl/host_name_verification.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl/ssl_stream.hpp>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/name_lookup.h"

namespace facet {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using asio::ip::tcp;

namespace {

using Clock = std::chrono::steady_clock;
using boost::system::error_code;
constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr uint32_t kHeaderBytesMax = 16 << 10;
constexpr size_t kPieceBytes = 256 << 10;

absl::Status Failed(absl::string_view what, const std::string& host, const error_code& error) {
  if (error == beast::error::timeout) {
    return absl::DeadlineExceededError(absl::StrCat(host, " did not answer in time"));
  }
  const std::string message = absl::StrCat(host, " ", what, ": ", error.message());
  // What TLS itself says, unlike a connection that broke, is not mended by another try.
  if (error.category() == asio::error::get_ssl_category()) {
    return absl::FailedPreconditionError(message);
  }
  return absl::UnavailableError(message);
}

HttpAnswerHead HeadOf(const http::response<http::buffer_body>& response) {
  HttpAnswerHead head;
  head.status = static_cast<int>(response.result_int());
  for (const auto& field : response) {
    std::string name(field.name_string().data(), field.name_string().size());
    absl::AsciiStrToLower(&name);
    head.headers[name].assign(field.value().data(), field.value().size());
  }
  return head;
}

// A request and its answer over a connection that stands.
template <typename Stream>
class Exchange {
 public:
  Exchange(Stream& stream, const HttpGetRequest& request, HttpAnswerReader& reader)
      : stream_(stream), request_(request), reader_(reader) {}

  asio::awaitable<absl::Status> Run() {
    const std::string& host = request_.url.host;
    http::request<http::empty_body> message(http::verb::get, request_.url.target, 11);
    message.set(http::field::host, request_.url.Authority());
    message.set(http::field::user_agent, "facet");
    message.set(http::field::accept, "*/*");
    message.set(http::field::connection, "close");
    for (const auto& [name, value] : request_.headers) message.set(name, value);
    ExpectMove();
    if (const auto [error, size] = co_await http::async_write(stream_, message, kAwait); error) {
      co_return Failed("does not take a request", host, error);
    }
    parser_.header_limit(kHeaderBytesMax);
    parser_.body_limit(boost::none);
    ExpectMove();
    if (const auto [error, size] =
            co_await http::async_read_header(stream_, buffer_, parser_, kAwait);
        error) {
      co_return Failed("does not send the file", host, error);
    }
    if (absl::Status status = reader_.OnHead(HeadOf(parser_.get())); !status.ok()) {
      co_return status;
    }
    co_return co_await ReadBody();
  }

 private:
  asio::awaitable<absl::Status> ReadBody() {
    std::vector<char> piece(kPieceBytes);
    while (!parser_.is_done()) {
      auto& body = parser_.get().body();
      body.data = piece.data();
      body.size = piece.size();
      ExpectMove();
      const auto [error, size] = co_await http::async_read_some(stream_, buffer_, parser_, kAwait);
      // What came before a connection broke is worth keeping.
      const absl::Status taken =
          reader_.OnBody(absl::string_view(piece.data(), piece.size() - body.size));
      if (!taken.ok()) co_return taken;
      if (error && error != http::error::need_buffer) {
        co_return Failed("does not send the file", request_.url.host, error);
      }
    }
    // The connection is dropped without a farewell: nothing more is wanted of it.
    co_return absl::OkStatus();
  }

  void ExpectMove() {
    beast::get_lowest_layer(stream_).expires_at(
        std::min(request_.end, Clock::now() + request_.silence_max));
  }

  Stream& stream_;
  const HttpGetRequest& request_;
  HttpAnswerReader& reader_;
  beast::flat_buffer buffer_;
  http::response_parser<http::buffer_body> parser_;
};

}  // namespace

std::string HttpAnswerHead::Header(const std::string& name) const {
  const auto found = headers.find(name);
  return found == headers.end() ? "" : found->second;
}

bool HttpAnswerHead::IsRedirect() const {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

struct HttpClient::Tls {
  asio::ssl::context context{asio::ssl::context::tls_client};
};

absl::Status HttpClient::CheckCertificates(const std::string& ca_file) {
  if (ca_file.empty()) return absl::OkStatus();
  asio::ssl::context context(asio::ssl::context::tls_client);
  error_code error;
  context.load_verify_file(ca_file, error);
  if (!error) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(ca_file, " holds no certificates: ", error.message()));
}

HttpClient::HttpClient(HttpClientOptions options)
    : options_(std::move(options)), tls_(std::make_unique<Tls>()) {
  asio::ssl::context& context = tls_->context;
  context.set_verify_mode(asio::ssl::verify_peer);
  SSL_CTX_set_min_proto_version(context.native_handle(), TLS1_2_VERSION);
  error_code error;
  if (options_.ca_file.empty()) {
    context.set_default_verify_paths(error);
  } else {
    context.load_verify_file(options_.ca_file, error);
  }
  CHECK(!error) << "certificates to trust: " << error.message();
}

HttpClient::~HttpClient() = default;

asio::awaitable<absl::Status> HttpClient::Get(HttpGetRequest request, HttpAnswerReader& reader) {
  const HttpUrl& url = request.url;
  const Clock::time_point connect_end = std::min(request.end, Clock::now() + request.silence_max);
  const absl::StatusOr<Addresses> addresses = co_await LookUpName(url.host, connect_end);
  if (!addresses.ok()) co_return addresses.status();
  int port = 0;
  CHECK(absl::SimpleAtoi(url.port, &port)) << url.port;
  std::vector<tcp::endpoint> endpoints;
  for (const asio::ip::address& address : *addresses) {
    if (options_.check_address) {
      if (absl::Status status = options_.check_address(url.host, address); !status.ok()) {
        co_return status;
      }
    }
    endpoints.emplace_back(address, static_cast<uint16_t>(port));
  }
  beast::ssl_stream<beast::tcp_stream> stream(co_await asio::this_coro::executor, tls_->context);
  beast::tcp_stream& plain = beast::get_lowest_layer(stream);
  plain.expires_at(connect_end);
  if (const auto [error, endpoint] = co_await plain.async_connect(endpoints, kAwait); error) {
    co_return Failed("cannot be reached", url.host, error);
  }
  if (!url.tls) co_return co_await Exchange<beast::tcp_stream>(plain, request, reader).Run();
  if (SSL_set_tlsext_host_name(stream.native_handle(), url.host.c_str()) != 1) {
    co_return absl::FailedPreconditionError(absl::StrCat(url.host, " is no name for TLS"));
  }
  stream.set_verify_callback(asio::ssl::host_name_verification(url.host));
  if (const auto [error] = co_await stream.async_handshake(asio::ssl::stream_base::client, kAwait);
      error) {
    co_return Failed("does not speak TLS as it should", url.host, error);
  }
  co_return co_await Exchange<decltype(stream)>(stream, request, reader).Run();
}

}  // namespace facet
