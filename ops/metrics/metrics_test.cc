#include "ops/metrics/metrics.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace facet {
namespace {

using ::testing::HasSubstr;

// Given one metric of each kind, expect Prometheus' text form with help, type and value.
TEST(MetricRegistryTest, WritesText) {
  MetricRegistry registry("router");
  registry.Counter("facet_things_total", "Things.").Increment(2);
  registry.Gauges("facet_level", "Level.").Add({{"pool", "full"}}).Set(0.5);
  registry.Histogram("facet_wait_seconds", "Wait.", TokenSecondsBuckets()).Observe(0.2);
  const std::string text = registry.Text();
  EXPECT_THAT(text, HasSubstr("# HELP facet_things_total Things.\n"));
  EXPECT_THAT(text, HasSubstr("# TYPE facet_things_total counter\nfacet_things_total 2\n"));
  EXPECT_THAT(text, HasSubstr("facet_level{pool=\"full\"} 0.5\n"));
  EXPECT_THAT(text, HasSubstr("facet_wait_seconds_bucket{le=\"0.1\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("facet_wait_seconds_bucket{le=\"0.25\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("facet_build_info{"));
}

}  // namespace
}  // namespace facet
