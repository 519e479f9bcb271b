#include "router/media/media_fetcher.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/streambuf.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>
#include <boost/asio/write.hpp>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace facet {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using ::facet::testing::StatusIs;
using ::testing::HasSubstr;
constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);

// A key and a certificate for "localhost" that it signs itself, as PEM.
struct Identity {
  std::string key, certificate;
};

std::string TakeText(BIO* bio) {
  char* data;
  const long size = BIO_get_mem_data(bio, &data);
  std::string text(data, size);
  BIO_free(bio);
  return text;
}

Identity MakeIdentity() {
  EVP_PKEY* key = EVP_EC_gen("P-256");
  X509* certificate = X509_new();
  X509_set_version(certificate, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
  X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
  X509_set_pubkey(certificate, key);
  X509_NAME* name = X509_get_subject_name(certificate);
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>("localhost"), -1, -1, 0);
  X509_set_issuer_name(certificate, name);
  X509_EXTENSION* alternative =
      X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, "DNS:localhost");
  X509_add_ext(certificate, alternative, -1);
  X509_EXTENSION_free(alternative);
  CHECK(X509_sign(certificate, key, EVP_sha256()) > 0);
  Identity identity;
  BIO* bio = BIO_new(BIO_s_mem());
  PEM_write_bio_PrivateKey(bio, key, nullptr, nullptr, 0, nullptr, nullptr);
  identity.key = TakeText(bio);
  bio = BIO_new(BIO_s_mem());
  PEM_write_bio_X509(bio, certificate);
  identity.certificate = TakeText(bio);
  X509_free(certificate);
  EVP_PKEY_free(key);
  return identity;
}

// Answers each request on loopback with bytes that the test gives for its target; an empty answer
// is none at all.
class TlsServer {
 public:
  using Answer = std::function<std::string(const std::string& target)>;

  TlsServer(const Identity& identity, Answer answer)
      : acceptor_(context_, {asio::ip::address_v4::loopback(), 0}), answer_(std::move(answer)) {
    tls_.use_certificate_chain(asio::buffer(identity.certificate));
    tls_.use_private_key(asio::buffer(identity.key), asio::ssl::context::pem);
    asio::co_spawn(context_, Accept(), asio::detached);
    thread_ = std::thread([this] { context_.run(); });
  }
  ~TlsServer() {
    context_.stop();
    thread_.join();
  }
  int port() const { return acceptor_.local_endpoint().port(); }

 private:
  asio::awaitable<void> Accept() {
    for (;;) {
      auto [error, socket] = co_await acceptor_.async_accept(kAwait);
      if (error) co_return;
      asio::co_spawn(context_, Serve(std::move(socket)), asio::detached);
    }
  }
  asio::awaitable<void> Serve(tcp::socket socket) {
    asio::ssl::stream<tcp::socket> stream(std::move(socket), tls_);
    if (auto [error] = co_await stream.async_handshake(asio::ssl::stream_base::server, kAwait);
        error) {
      co_return;
    }
    asio::streambuf buffer;
    auto [error, size] = co_await asio::async_read_until(stream, buffer, "\r\n\r\n", kAwait);
    if (error) co_return;
    const std::string head(asio::buffers_begin(buffer.data()), asio::buffers_end(buffer.data()));
    const size_t begin = head.find(' ') + 1;
    const std::string bytes = answer_(head.substr(begin, head.find(' ', begin) - begin));
    if (bytes.empty()) {
      // Holds the connection until the client leaves it.
      co_await asio::async_read_until(stream, buffer, "never", kAwait);
      co_return;
    }
    co_await asio::async_write(stream, asio::buffer(bytes), kAwait);
    co_await stream.async_shutdown(kAwait);
  }

  asio::io_context context_;
  asio::ssl::context tls_{asio::ssl::context::tls_server};
  tcp::acceptor acceptor_;
  const Answer answer_;
  std::thread thread_;
};

std::string Ok(const std::string& body) {
  return absl::StrCat("HTTP/1.1 200 OK\r\nContent-Length: ", body.size(), "\r\n\r\n", body);
}
std::string Redirect(const std::string& location) {
  return absl::StrCat("HTTP/1.1 302 Found\r\nLocation: ", location,
                      "\r\nContent-Length: 0\r\n\r\n");
}

class MediaFetcherTest : public ::testing::Test {
 protected:
  MediaFetcherTest()
      : server_(identity_, [this](const std::string& target) { return AnswerTo(target); }) {
    options_.enabled = true;
    options_.hosts = {"localhost"};
    options_.ca_file = absl::StrCat(std::getenv("TEST_TMPDIR"), "/trusted.pem");
    std::ofstream(options_.ca_file) << identity_.certificate;
    // The server is on loopback, which is what the rule exists to refuse.
    options_.address_allowed = [](const asio::ip::address& address) {
      return address.is_loopback();
    };
  }

  std::string AnswerTo(const std::string& target) {
    if (target == "/file?x=1") return Ok("the file");
    if (target == "/moved") return Redirect("/file?x=1");
    if (target == "/moved_away") return Redirect("https://elsewhere.example/");
    if (target == "/moved_inside") return Redirect("https://10.0.0.1/");
    if (target == "/moved_down") return Redirect("http://localhost/");
    if (target == "/loop") return Redirect("/loop");
    if (target == "/nowhere") return Redirect("");
    if (target == "/missing") return "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
    if (target == "/short") return "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nthe file";
    if (target == "/chunked") {
      return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20\r\n" + std::string(32, 'x') +
             "\r\n0\r\n\r\n";
    }
    if (target == "/header")
      return "HTTP/1.1 200 OK\r\nX: " + std::string(20'000, 'x') + "\r\n\r\n";
    if (target == "/nonsense") return "hello\r\n\r\n";
    return "";
  }

  std::string Url(const std::string& target) {
    return absl::StrCat("https://localhost:", server_.port(), target);
  }
  absl::StatusOr<std::string> Fetch(const std::string& url) {
    MediaFetcher fetcher(options_);
    asio::io_context context;
    auto file = asio::co_spawn(context, fetcher.Fetch(url, /*bytes_max=*/16), asio::use_future);
    context.run();
    return file.get();
  }
  void ExpectRefused(const std::string& url, const std::string& what) {
    EXPECT_THAT(Fetch(url), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(what))) << url;
  }

  const Identity identity_ = MakeIdentity();
  TlsServer server_;
  MediaFetcherOptions options_;
};

// Given a file and a redirect to it, expect its bytes.
TEST_F(MediaFetcherTest, FetchesFiles) {
  EXPECT_THAT(Fetch(Url("/file?x=1")), testing::IsOkAndHolds("the file"));
  EXPECT_THAT(Fetch(Url("/moved")), testing::IsOkAndHolds("the file"));
  options_.hosts = {"*"};
  EXPECT_THAT(Fetch(Url("/file?x=1")), testing::IsOkAndHolds("the file"));
}

// Given hosts and addresses that are not allowed, at once or after a redirect, expect no file.
TEST_F(MediaFetcherTest, AsksOnlyWhomItMay) {
  ExpectRefused(Url("/moved_away"), "fetches nothing from elsewhere.example");
  ExpectRefused("https://example.com/", "fetches nothing from example.com");
  ExpectRefused(Url("/moved_down"), "does not begin with https://");
  options_.hosts = {".example.com", "*"};
  ExpectRefused(Url("/moved_inside"), "10.0.0.1 has an address that is not public");
  options_.address_allowed = nullptr;
  ExpectRefused(Url("/file?x=1"), "localhost has an address that is not public");
  ExpectRefused("https://127.0.0.1/", "127.0.0.1 has an address that is not public");
  options_.hosts = {".localhost"};
  ExpectRefused(Url("/file?x=1"), "fetches nothing from localhost");
  options_.enabled = false;
  ExpectRefused(Url("/file?x=1"), "fetches no addresses");
}

// Given answers that are no file, expect an error that says so.
TEST_F(MediaFetcherTest, RefusesOtherAnswers) {
  ExpectRefused(Url("/missing"), "status 404");
  ExpectRefused(Url("/loop"), "more than 3 redirects");
  ExpectRefused(Url("/nowhere"), "redirects to nowhere");
  ExpectRefused(Url("/short"), "more than 16 bytes");
  ExpectRefused(Url("/chunked"), "more than 16 bytes");
  ExpectRefused(Url("/header"), "does not send the file");
  ExpectRefused(Url("/nonsense"), "does not send the file");
  options_.timeout_ms = 200;
  ExpectRefused(Url("/silent"), "did not answer in time");
}

// Given a server that is not who it should be, expect no file.
TEST_F(MediaFetcherTest, ChecksCertificates) {
  options_.hosts = {"*"};
  ExpectRefused(absl::StrCat("https://127.0.0.1:", server_.port(), "/file?x=1"), "TLS");
  options_.ca_file = "";
  ExpectRefused(Url("/file?x=1"), "TLS");
}

// Given options that cannot work, expect an error that names the flag.
TEST_F(MediaFetcherTest, ChecksOptions) {
  EXPECT_OK(CheckFetcherOptions(options_));
  options_.ca_file = "no/such/file";
  EXPECT_THAT(CheckFetcherOptions(options_),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--fetch_media_ca_file")));
  options_.hosts.clear();
  EXPECT_THAT(CheckFetcherOptions(options_),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--fetch_media_hosts")));
  options_.enabled = false;
  EXPECT_OK(CheckFetcherOptions(options_));
}

}  // namespace
}  // namespace facet
