#include "ops/metrics/process_metrics.h"

#include <map>
#include <string>

#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace facet {
namespace {

// Given a line whose command has spaces and brackets, expect the fields behind it.
TEST(ProcessMetricsTest, ReadsFieldsBehindAnyCommandName) {
  const auto use = ParseProcessUse(
      "42 (a) b (c) S 1 42 42 0 -1 4194560 1 2 3 4 250 50 0 0 20 0 7 0 1000 8192 3 99 1\n", 100,
      4096);
  ASSERT_THAT(use, testing::IsOk());
  EXPECT_EQ(use->cpu_s, 3);
  EXPECT_EQ(use->threads, 7);
  EXPECT_EQ(use->start_s, 10);
  EXPECT_EQ(use->virtual_bytes, 8192);
  EXPECT_EQ(use->resident_bytes, 3 * 4096);
}

// Given text that is no such line, expect an error and no figures.
TEST(ProcessMetricsTest, RefusesOtherText) {
  for (const char* text : {"", "42 (cat", "42 (cat) S 1 2 3",
                           "42 (cat) S a b c d e f g h i j k l "
                           "m n o p q r s t u v w x y z"}) {
    EXPECT_THAT(ParseProcessUse(text, 100, 4096),
                testing::StatusIs(absl::StatusCode::kInvalidArgument, ::testing::_));
  }
}

// Given this process, expect every family, with what any process has.
TEST(ProcessMetricsTest, TellsOfThisProcess) {
  std::map<std::string, prometheus::ClientMetric> metrics;
  for (const auto& family : ProcessMetrics()) metrics[family.name] = family.metric.at(0);
  EXPECT_EQ(metrics.size(), 7);
  EXPECT_GT(metrics["process_resident_memory_bytes"].gauge.value, 1 << 20);
  EXPECT_GE(metrics["process_open_fds"].gauge.value, 3);
  EXPECT_GE(metrics["process_max_fds"].gauge.value, metrics["process_open_fds"].gauge.value);
  // After 2020, and not in the future by more than a clock that was set meanwhile.
  EXPECT_GT(metrics["process_start_time_seconds"].gauge.value, 1'577'836'800);
}

}  // namespace
}  // namespace facet
