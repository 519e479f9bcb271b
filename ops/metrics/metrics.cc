#include "ops/metrics/metrics.h"

#include <prometheus/text_serializer.h>

#include <utility>

#include "base/version.h"
#include "ops/metrics/process_metrics.h"

namespace facet {

using Buckets = prometheus::Histogram::BucketBoundaries;

MetricRegistry::MetricRegistry(absl::string_view process) {
  Gauges("facet_build_info", "1, with the version of the running binary.")
      .Add({{"version", kVersion}, {"process", std::string(process)}})
      .Set(1);
}

prometheus::Family<prometheus::Counter>& MetricRegistry::Counters(const char* name,
                                                                  const char* help) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(registry_);
}

prometheus::Family<prometheus::Gauge>& MetricRegistry::Gauges(const char* name, const char* help) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(registry_);
}

prometheus::Family<prometheus::Histogram>& MetricRegistry::Histograms(const char* name,
                                                                      const char* help) {
  return prometheus::BuildHistogram().Name(name).Help(help).Register(registry_);
}

prometheus::Counter& MetricRegistry::Counter(const char* name, const char* help) {
  return Counters(name, help).Add({});
}

prometheus::Gauge& MetricRegistry::Gauge(const char* name, const char* help) {
  return Gauges(name, help).Add({});
}

prometheus::Histogram& MetricRegistry::Histogram(const char* name, const char* help,
                                                 const Buckets& buckets) {
  return Histograms(name, help).Add({}, buckets);
}

std::vector<prometheus::MetricFamily> MetricRegistry::Collect() const {
  std::vector<prometheus::MetricFamily> families = registry_.Collect();
  for (prometheus::MetricFamily& family : ProcessMetrics()) families.push_back(std::move(family));
  return families;
}

std::string MetricRegistry::Text() const {
  return prometheus::TextSerializer().Serialize(Collect());
}

const Buckets& RequestSecondsBuckets() {
  static const Buckets& buckets = *new Buckets{
      0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 300};
  return buckets;
}

const Buckets& TokenSecondsBuckets() {
  static const Buckets& buckets =
      *new Buckets{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5};
  return buckets;
}

}  // namespace facet
