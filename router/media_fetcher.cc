#include "router/media_fetcher.h"

#include <openssl/ssl.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/host_name_verification.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl/ssl_stream.hpp>
#include <chrono>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "model/media/audio_decoder.h"
#include "model/media/image_decoder.h"
#include "model/media/video_frames.h"
#include "router/https_url.h"
#include "router/public_address.h"

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

absl::Status Refused(absl::string_view why) { return absl::InvalidArgumentError(why); }

absl::Status Failed(absl::string_view what, const std::string& host, const error_code& error) {
  if (error == beast::error::timeout) {
    return Refused(absl::StrCat(host, " did not answer in time"));
  }
  return Refused(absl::StrCat(host, " ", what, ": ", error.message()));
}

bool HostAllowed(const std::vector<std::string>& hosts, absl::string_view host) {
  return std::any_of(hosts.begin(), hosts.end(), [&](absl::string_view allowed) {
    if (allowed == "*") return true;
    return absl::StartsWith(allowed, ".") ? absl::EndsWithIgnoreCase(host, allowed)
                                          : absl::EqualsIgnoreCase(host, allowed);
  });
}

using Endpoints = std::vector<tcp::endpoint>;

asio::awaitable<absl::StatusOr<Endpoints>> Resolve(const HttpsUrl& url, Clock::time_point end) {
  using asio::experimental::awaitable_operators::operator||;
  const auto executor = co_await asio::this_coro::executor;
  tcp::resolver resolver(executor);
  asio::steady_timer timer(executor, end);
  auto first =
      co_await (resolver.async_resolve(url.host, url.port, kAwait) || timer.async_wait(kAwait));
  if (first.index() == 1) co_return Refused(absl::StrCat(url.host, " was not resolved in time"));
  const auto& [error, results] = std::get<0>(first);
  if (error) co_return Failed("is not known", url.host, error);
  Endpoints endpoints;
  for (const auto& result : results) endpoints.push_back(result.endpoint());
  co_return endpoints;
}

// What one address answered: a file, or where it lies.
struct Answer {
  std::string file;
  std::string location;
};

absl::StatusOr<Answer> ReadAnswer(const std::string& host,
                                  http::response<http::string_body> response) {
  Answer answer;
  switch (response.result_int()) {
    case 200:
      answer.file = std::move(response.body());
      return answer;
    case 301:
    case 302:
    case 303:
    case 307:
    case 308: {
      const auto location = response[http::field::location];
      answer.location.assign(location.data(), location.size());
      if (answer.location.empty()) return Refused(absl::StrCat(host, " redirects to nowhere"));
      return answer;
    }
    default:
      return Refused(absl::StrCat(host, " answered with status ", response.result_int()));
  }
}

asio::awaitable<absl::StatusOr<Answer>> Get(asio::ssl::context& tls, const HttpsUrl& url,
                                            const Endpoints& endpoints, int64_t bytes_max,
                                            Clock::time_point end) {
  beast::ssl_stream<beast::tcp_stream> stream(co_await asio::this_coro::executor, tls);
  beast::get_lowest_layer(stream).expires_at(end);
  if (SSL_set_tlsext_host_name(stream.native_handle(), url.host.c_str()) != 1) {
    co_return Refused("the address has no host name");
  }
  stream.set_verify_callback(asio::ssl::host_name_verification(url.host));
  if (const auto [error, endpoint] =
          co_await beast::get_lowest_layer(stream).async_connect(endpoints, kAwait);
      error) {
    co_return Failed("cannot be reached", url.host, error);
  }
  if (const auto [error] = co_await stream.async_handshake(asio::ssl::stream_base::client, kAwait);
      error) {
    co_return Failed("does not speak TLS as it should", url.host, error);
  }
  http::request<http::empty_body> request(http::verb::get, url.target, 11);
  request.set(http::field::host, url.port == "443" ? url.host : url.host + ":" + url.port);
  request.set(http::field::user_agent, "facet");
  request.set(http::field::accept, "*/*");
  request.set(http::field::connection, "close");
  if (const auto [error, size] = co_await http::async_write(stream, request, kAwait); error) {
    co_return Failed("does not take a request", url.host, error);
  }
  http::response_parser<http::string_body> parser;
  parser.body_limit(static_cast<uint64_t>(bytes_max));
  parser.header_limit(kHeaderBytesMax);
  beast::flat_buffer buffer;
  if (const auto [error, size] = co_await http::async_read(stream, buffer, parser, kAwait); error) {
    if (error == http::error::body_limit) {
      co_return Refused(absl::StrCat("the file has more than ", bytes_max, " bytes"));
    }
    co_return Failed("does not send the file", url.host, error);
  }
  // The connection is dropped without a farewell: nothing more is wanted of it.
  co_return ReadAnswer(url.host, parser.release());
}

}  // namespace

struct MediaFetcher::Tls {
  asio::ssl::context context{asio::ssl::context::tls_client};
};

absl::Status CheckFetcherOptions(const MediaFetcherOptions& options) {
  if (!options.enabled) return absl::OkStatus();
  if (options.hosts.empty()) {
    return Refused("--fetch_media needs --fetch_media_hosts: name the hosts that may be asked");
  }
  if (options.ca_file.empty()) return absl::OkStatus();
  asio::ssl::context context(asio::ssl::context::tls_client);
  error_code error;
  context.load_verify_file(options.ca_file, error);
  if (!error) return absl::OkStatus();
  return Refused(absl::StrCat("--fetch_media_ca_file=", options.ca_file,
                              " holds no certificates: ", error.message()));
}

MediaFetcher::MediaFetcher(MediaFetcherOptions options)
    : options_(std::move(options)), tls_(options_.enabled ? std::make_unique<Tls>() : nullptr) {
  if (tls_ == nullptr) return;
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

MediaFetcher::~MediaFetcher() = default;

int64_t MediaFetcher::BytesMax(MediaPart::Kind kind) {
  switch (kind) {
    case MediaPart::Kind::kImage:
      return ImageLimits().bytes_max;
    case MediaPart::Kind::kAudio:
      return AudioLimits().bytes_max;
    case MediaPart::Kind::kVideo:
      return VideoLimits().bytes_max;
  }
  return 0;
}

asio::awaitable<absl::StatusOr<std::string>> MediaFetcher::Fetch(std::string text,
                                                                 int64_t bytes_max) {
  if (tls_ == nullptr) {
    co_return Refused("this server fetches no addresses: send the file as a data: URL");
  }
  const Clock::time_point end = Clock::now() + std::chrono::milliseconds(options_.timeout_ms);
  absl::StatusOr<HttpsUrl> url = ParseHttpsUrl(text);
  for (int redirects = 0; redirects <= options_.redirects_max; ++redirects) {
    if (!url.ok()) co_return url.status();
    if (!HostAllowed(options_.hosts, url->host)) {
      co_return Refused(absl::StrCat("this server fetches nothing from ", url->host));
    }
    absl::StatusOr<Endpoints> endpoints = co_await Resolve(*url, end);
    if (!endpoints.ok()) co_return endpoints.status();
    // One address that is not public is enough: such a name is not what it seems.
    for (const tcp::endpoint& endpoint : *endpoints) {
      const bool allowed = options_.address_allowed ? options_.address_allowed(endpoint.address())
                                                    : IsPublicAddress(endpoint.address());
      if (!allowed) {
        co_return Refused(absl::StrCat(url->host, " has an address that is not public"));
      }
    }
    absl::StatusOr<Answer> answer = co_await Get(tls_->context, *url, *endpoints, bytes_max, end);
    if (!answer.ok()) co_return answer.status();
    if (answer->location.empty()) co_return std::move(answer->file);
    url = ParseRedirect(*url, answer->location);
  }
  co_return Refused(absl::StrCat("there are more than ", options_.redirects_max, " redirects"));
}

}  // namespace facet
