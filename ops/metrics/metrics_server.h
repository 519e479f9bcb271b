#ifndef FACET_OPS_METRICS_METRICS_SERVER_H_
#define FACET_OPS_METRICS_METRICS_SERVER_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "ops/metrics/metrics.h"

namespace facet {

// Answers GET /metrics over HTTP, for processes that have no HTTP server of their own. It has one
// thread of its own.
class MetricsServer {
 public:
  // Listens on `host`:`port`; port 0 lets the kernel pick. `registry` must outlive it. UNAVAILABLE
  // names the address that cannot be listened on.
  static absl::StatusOr<std::unique_ptr<MetricsServer>> Start(const std::string& host, int port,
                                                              const MetricRegistry& registry);
  virtual ~MetricsServer() = default;

  virtual int port() const = 0;
};

}  // namespace facet

#endif  // FACET_OPS_METRICS_METRICS_SERVER_H_
