// What a client sends to the HTTP server, in pieces of a length that the first byte says: answers
// that are HTTP by Beast's own parser, one for each request that the handler saw, within the limits
// and with no header of the client's making. Server and client share one thread, so that an input
// always does the same.

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http.hpp>
#include <memory>
#include <string>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "base/check.h"
#include "router/http/http_server.h"
#include "tests/fuzz/fuzz_target.h"

namespace facet {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using asio::ip::tcp;

constexpr size_t kHeaderBytesMax = 2048;
constexpr size_t kBodyBytesMax = 4096;

bool IsToken(absl::string_view id) {
  return !id.empty() && absl::c_all_of(id, [](char c) {
    return absl::ascii_isalnum(c) || absl::string_view("-_.").find(c) != absl::string_view::npos;
  });
}

// One for all inputs; never destroyed, since Stop needs another thread.
class Served {
 public:
  Served() {
    HttpServerOptions options;
    options.host = "127.0.0.1";
    options.header_bytes_max = kHeaderBytesMax;
    options.body_bytes_max = kBodyBytesMax;
    options.all_bodies_bytes_max = 2 * kBodyBytesMax;
    options.allowed_origins = {"*"};
    options.error_body = [](int, absl::string_view message) { return std::string(message); };
    auto server = HttpServer::Start(
        context_, std::move(options),
        [this](const HttpRequest& request, ResponseWriter& writer) -> asio::awaitable<void> {
          ++handled_;
          CHECK(request.path.find('?') == std::string::npos);
          CHECK(IsToken(request.request_id));
          CHECK_LE(request.body.size(), kBodyBytesMax);
          CHECK_LE(request.method.size() + request.path.size() + request.query.size() +
                       request.content_type.size() + request.api_key.size(),
                   kHeaderBytesMax);
          if (request.path == "/events") {
            writer.StartEvents({});
            std::string event = EventText("{}");
            co_await writer.WriteEvents(std::move(event));
            co_await writer.FinishEvents();
          } else {
            HttpResponse response;
            response.body = request.body;
            co_await writer.Send(std::move(response));
          }
        });
    CHECK_OK(server);
    server_ = *std::move(server);
  }

  // What a client gets that sends `input` in such pieces; `handled` counts the requests.
  std::string Answer(absl::string_view input, size_t piece_bytes, int& handled) {
    handled_ = 0;
    tcp::socket client(client_context_);
    client.connect({asio::ip::make_address("127.0.0.1"), server_->port()});
    client.non_blocking(true);
    client.set_option(asio::socket_base::linger(true, 0));  // Leaves no port behind.
    Settle();
    std::string answer;
    boost::system::error_code error;
    while (!input.empty() && !error) {
      const size_t bytes =
          client.write_some(asio::buffer(input.data(), std::min(piece_bytes, input.size())), error);
      input.remove_prefix(bytes);
      Settle();
      Read(client, answer);
    }
    handled = handled_;  // What comes after the client's end is answered to nobody.
    client.shutdown(tcp::socket::shutdown_send, error);
    Settle();
    Read(client, answer);
    client.close(error);
    Settle();
    return answer;
  }

 private:
  // On the loopback what one side wrote is there for the other at once.
  void Settle() {
    context_.restart();
    while (context_.poll() > 0) {
    }
  }

  static void Read(tcp::socket& client, std::string& answer) {
    char bytes[4096];
    boost::system::error_code error;
    while (!error) answer.append(bytes, client.read_some(asio::buffer(bytes), error));
  }

  asio::io_context context_;
  asio::io_context client_context_;
  std::unique_ptr<HttpServer> server_;
  int handled_ = 0;
};

// The responses in `answer`, checked one by one; the number of those that answer a request.
int CheckResponses(absl::string_view answer) {
  int count = 0;
  while (!answer.empty()) {
    http::response_parser<http::string_body> parser;
    parser.eager(true);
    boost::system::error_code error;
    const size_t used = parser.put(asio::buffer(answer.data(), answer.size()), error);
    CHECK(!error || error == http::error::need_more);
    answer.remove_prefix(used);
    if (!parser.is_done()) {  // Of an HTTP/1.0 client: to the end of the connection.
      CHECK(answer.empty());
      CHECK(parser.need_eof());
      error = {};
      parser.put_eof(error);
      CHECK(!error);
    }
    const auto& response = parser.get();
    const int status = response.result_int();
    if (status == 100) continue;
    ++count;
    const bool refused = status == 400 || status == 413 || status == 431 || status == 503;
    CHECK(refused || status == 200 || status == 204);
    if (refused) CHECK(answer.empty());  // The last thing that this client hears.
    CHECK(response["Server"] == "facet");
    const auto id = response["x-request-id"];
    CHECK(IsToken({id.data(), id.size()}));
    CHECK_EQ(response.count("x-request-id"), 1u);
    CHECK_LE(response.count("Content-Length"), 1u);
  }
  return count;
}

}  // namespace
}  // namespace facet

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static facet::Served& served = *new facet::Served();
  if (size == 0) return 0;
  const size_t piece_bytes = 16 * (size_t{data[0]} + 1);
  const absl::string_view input = facet::AsText(data + 1, size - 1);
  int handled = 0;
  const std::string answer = served.Answer(input, piece_bytes, handled);
  // An answer to HEAD has the length of a body that does not come: no parser can tell by itself.
  if (absl::StrContains(input, "HEAD")) return 0;
  CHECK_GE(facet::CheckResponses(answer), handled);
  return 0;
}
