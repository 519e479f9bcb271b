#include "ops/metrics/metrics_server.h"

#include <boost/asio/ip/tcp.hpp>
#include <iterator>
#include <string>

#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace facet {
namespace {

using ::testing::HasSubstr;

std::string Ask(int port, const std::string& method_and_path) {
  boost::asio::ip::tcp::iostream stream("127.0.0.1", std::to_string(port));
  stream << method_and_path << " HTTP/1.0\r\n\r\n" << std::flush;
  return {std::istreambuf_iterator<char>(stream), {}};
}

// Given a registry, expect what it counts, and what the system says of the process.
TEST(MetricsServerTest, AnswersMetrics) {
  MetricRegistry registry("test");
  prometheus::Counter& things = registry.Counter("facet_things_total", "Things.");
  const auto server = MetricsServer::Start("127.0.0.1", 0, registry);
  ASSERT_THAT(server, testing::IsOk());
  things.Increment(3);
  const std::string answer = Ask((*server)->port(), "GET /metrics");
  EXPECT_THAT(answer, HasSubstr(" 200 OK\r\n"));
  EXPECT_THAT(answer, HasSubstr("\nfacet_things_total 3\n"));
  EXPECT_THAT(answer, HasSubstr("\nprocess_cpu_seconds_total "));
}

// Given another path, another method, or no HTTP at all, expect a proper refusal or a closed
// connection, and the next scrape answered.
TEST(MetricsServerTest, RefusesWhatIsNoScrape) {
  MetricRegistry registry("test");
  const auto server = MetricsServer::Start("localhost", 0, registry);
  ASSERT_THAT(server, testing::IsOk());
  const int port = (*server)->port();
  EXPECT_THAT(Ask(port, "GET /other"), HasSubstr(" 404 Not Found\r\n"));
  EXPECT_THAT(Ask(port, "DELETE /metrics"), HasSubstr(" 405 Method Not Allowed\r\n"));
  EXPECT_EQ(Ask(port, "\x16\x03\x01"), "");
  EXPECT_THAT(Ask(port, "GET /metrics?a=b"), HasSubstr(" 200 OK\r\n"));
}

// Given a port that another server has, expect an error that names the address.
TEST(MetricsServerTest, RefusesATakenPort) {
  MetricRegistry registry("test");
  const auto first = MetricsServer::Start("127.0.0.1", 0, registry);
  ASSERT_THAT(first, testing::IsOk());
  EXPECT_THAT(MetricsServer::Start("127.0.0.1", (*first)->port(), registry),
              testing::StatusIs(absl::StatusCode::kUnavailable,
                                HasSubstr("127.0.0.1:" + std::to_string((*first)->port()))));
}

}  // namespace
}  // namespace facet
