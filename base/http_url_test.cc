#include "base/http_url.h"

#include <string>

#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace facet {
namespace {

using ::facet::testing::StatusIs;
using ::testing::HasSubstr;

// Given addresses, expect their parts.
TEST(HttpUrlTest, Splits) {
  const struct {
    const char *url, *host, *port, *target;
  } kCases[] = {
      {"https://example.com", "example.com", "443", "/"},
      {"HTTPS://Example.COM:8443/a/b?c=d#e", "example.com", "8443", "/a/b?c=d"},
      {"https://example.com?x", "example.com", "443", "/?x"},
      {"https://10.0.0.1/", "10.0.0.1", "443", "/"},
  };
  for (const auto& c : kCases) {
    ASSERT_OK_AND_ASSIGN(const HttpUrl url, ParseHttpsUrl(c.url));
    EXPECT_EQ(url.host, c.host);
    EXPECT_EQ(url.port, c.port);
    EXPECT_EQ(url.target, c.target);
  }
}

// Given what would lead elsewhere than it seems, expect an error that says what is wrong.
TEST(HttpUrlTest, Refuses) {
  const struct {
    std::string url;
    const char* what;
  } kCases[] = {
      {"http://example.com/", "https://"},
      {"file:///etc/passwd", "https://"},
      {"https://", "host"},
      {"https:///path", "host"},
      {"https://user@example.com/", "host"},
      {"https://user:pass@example.com/", "port"},
      {"https://[::1]/", "host"},
      {"https://example.com\\@evil/", "host"},
      {"https://exa mple.com/", "byte"},
      {"https://example.com/a\r\nHost: evil", "byte"},
      {"https://example.com:0/", "port"},
      {"https://example.com:70000/", "port"},
      {"https://example.com:/", "port"},
      {"https://" + std::string(9000, 'a') + "/", "8192"},
      {"https://" + std::string(300, 'a') + "/", "host"},
  };
  for (const auto& c : kCases) {
    const auto url = ParseHttpsUrl(c.url);
    if (c.url == "https://example.com\\@evil/") {
      // The host ends there; what follows is a path and goes to that host.
      ASSERT_OK(url);
      EXPECT_EQ(url->host, "example.com");
      continue;
    }
    EXPECT_THAT(url, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(c.what))) << c.url;
  }
}

// Given redirects, expect absolute paths on the same host and whole addresses, and nothing else.
TEST(HttpUrlTest, Redirects) {
  ASSERT_OK_AND_ASSIGN(const HttpUrl from, ParseHttpsUrl("https://a.example:444/x?y"));
  ASSERT_OK_AND_ASSIGN(const HttpUrl path, ParseRedirect(from, "/z#f"));
  EXPECT_EQ(path.host + ":" + path.port + path.target, "a.example:444/z");
  ASSERT_OK_AND_ASSIGN(const HttpUrl other, ParseRedirect(from, "https://b.example/w"));
  EXPECT_EQ(other.host + ":" + other.port + other.target, "b.example:443/w");
  for (const char* location : {"//c.example/", "http://a.example/", "z", "", "/a b"}) {
    EXPECT_FALSE(ParseRedirect(from, location).ok()) << location;
  }
}

// Given http, expect it on loopback alone, where redirects may lead on to loopback; never from
// https.
TEST(HttpUrlTest, PlainHttpIsForLoopback) {
  ASSERT_OK_AND_ASSIGN(const HttpUrl url, ParseHttpsOrLoopbackUrl("http://127.0.0.1:8080/x"));
  EXPECT_FALSE(url.tls);
  EXPECT_EQ(url.Authority(), "127.0.0.1:8080");
  ASSERT_OK_AND_ASSIGN(const HttpUrl usual, ParseHttpsOrLoopbackUrl("http://localhost/"));
  EXPECT_EQ(usual.Authority(), "localhost");
  EXPECT_EQ(usual.port, "80");
  ASSERT_OK_AND_ASSIGN(const HttpUrl moved, ParseRedirect(url, "http://127.0.0.1:8081/y"));
  EXPECT_EQ(moved.Authority(), "127.0.0.1:8081");
  EXPECT_FALSE(moved.SameOrigin(url));
  ASSERT_OK_AND_ASSIGN(const HttpUrl secure, ParseHttpsOrLoopbackUrl("https://127.0.0.1:8080/x"));
  EXPECT_FALSE(secure.SameOrigin(url));
  EXPECT_FALSE(ParseRedirect(secure, "http://127.0.0.1:8080/x").ok());
  for (const char* other :
       {"http://example.com/", "http://127.example.com/", "http://10.0.0.1/", "http://1270.0.0.1/",
        "http://localhost.example.com/", "http://user@127.0.0.1/", "ftp://127.0.0.1/"}) {
    EXPECT_FALSE(ParseHttpsOrLoopbackUrl(other).ok()) << other;
  }
}

}  // namespace
}  // namespace facet
