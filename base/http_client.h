#ifndef FACET_BASE_HTTP_CLIENT_H_
#define FACET_BASE_HTTP_CLIENT_H_

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/address.hpp>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "base/http_url.h"

namespace facet {

struct HttpClientOptions {
  std::string ca_file;  // Whose certificates are trusted; empty: the system's.
  // Asked for each address that a name has, before any is used; empty: all may be asked.
  std::function<absl::Status(const std::string& host, const boost::asio::ip::address&)>
      check_address;
};

struct HttpGetRequest {
  HttpUrl url;
  std::map<std::string, std::string> headers;  // beside Host, User-Agent, Accept and Connection
  std::chrono::steady_clock::time_point end;   // of the whole exchange
  // The longest wait for the other side's next move.
  std::chrono::milliseconds silence_max = std::chrono::seconds(30);
};

struct HttpAnswerHead {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case

  // Empty if absent. `name` in lower case.
  std::string Header(const std::string& name) const;
  // Whether it sends the client elsewhere, by its header "location".
  bool IsRedirect() const;
};

// Takes an answer as it arrives. The first error ends the exchange, which returns it.
class HttpAnswerReader {
 public:
  virtual ~HttpAnswerReader() = default;
  virtual absl::Status OnHead(const HttpAnswerHead& head) = 0;
  virtual absl::Status OnBody(absl::string_view piece) = 0;
};

// Gets files by https (TLS 1.2 or later, certificates checked) or, of HttpUrl that says so, plain
// http. Safe to use from any thread.
class HttpClient {
 public:
  // INVALID_ARGUMENT if the file holds no certificates.
  static absl::Status CheckCertificates(const std::string& ca_file);

  // REQUIRES: CheckCertificates(options.ca_file).
  explicit HttpClient(HttpClientOptions options);
  ~HttpClient();

  // One GET on a connection of its own; redirects are the caller's. Runs on the caller's strand.
  // `reader` must live until it ends. OK: the whole body was read. UNAVAILABLE: the other side
  // cannot be reached, broke off or does not speak HTTP; DEADLINE_EXCEEDED: too slow;
  // FAILED_PRECONDITION: it cannot prove who it is; else what check_address or `reader` said.
  boost::asio::awaitable<absl::Status> Get(HttpGetRequest request, HttpAnswerReader& reader);

 private:
  struct Tls;  // OpenSSL's context, behind a pointer to keep its headers out of here.

  const HttpClientOptions options_;
  const std::unique_ptr<Tls> tls_;
};

}  // namespace facet

#endif  // FACET_BASE_HTTP_CLIENT_H_
