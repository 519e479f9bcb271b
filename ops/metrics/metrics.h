#ifndef FACET_OPS_METRICS_METRICS_H_
#define FACET_OPS_METRICS_METRICS_H_

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/metric_family.h>
#include <prometheus/registry.h>

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace facet {

// What the metrics of all processes share. A component keeps its metrics in one struct at the top
// of its header, made from a MetricRegistry. All of this may be used from any thread; what the
// registry returns lives as long as the registry.
//
// Names: prefix facet_, base units, _total on counters; few labels of bounded values, never an id.
class MetricRegistry {
 public:
  // Also registers facet_build_info{version,process}.
  explicit MetricRegistry(absl::string_view process);

  prometheus::Family<prometheus::Counter>& Counters(const char* name, const char* help);
  prometheus::Family<prometheus::Gauge>& Gauges(const char* name, const char* help);
  prometheus::Family<prometheus::Histogram>& Histograms(const char* name, const char* help);

  prometheus::Counter& Counter(const char* name, const char* help);
  prometheus::Gauge& Gauge(const char* name, const char* help);
  prometheus::Histogram& Histogram(const char* name, const char* help,
                                   const prometheus::Histogram::BucketBoundaries& buckets);

  // Everything, with what the system says of the process (process_metrics.h).
  std::vector<prometheus::MetricFamily> Collect() const;
  // The same in Prometheus' text form.
  std::string Text() const;

 private:
  prometheus::Registry registry_;
};

inline constexpr char kMetricsContentType[] = "text/plain; version=0.0.4; charset=utf-8";

// From 1 ms to 5 minutes: times of whole requests and of first tokens.
const prometheus::Histogram::BucketBoundaries& RequestSecondsBuckets();
// From 0.5 ms to 2.5 s: times between tokens.
const prometheus::Histogram::BucketBoundaries& TokenSecondsBuckets();

}  // namespace facet

#endif  // FACET_OPS_METRICS_METRICS_H_
