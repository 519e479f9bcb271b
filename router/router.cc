#include "router/router.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/listen_address.h"
#include "base/status_macros.h"
#include "base/target.h"
#include "router/api/api_error.h"
#include "router/cluster/discovery.h"
#include "router/cluster/page_index.h"
#include "router/cluster/registry_service.h"
#include "router/cluster/stuck_watch.h"
#include "router/cluster/worker_pool.h"
#include "router/grpc_service.h"
#include "router/metrics.h"

namespace facet {
namespace {

namespace asio = boost::asio;

// Of the gRPC port, where workers register.
constexpr int kRegistryKeepaliveMs = 10'000, kRegistryKeepaliveTimeoutMs = 5'000;
constexpr int kRegistryPingIntervalMinMs = 5'000;

absl::Status Check(const RouterOptions& options) {
  if (options.workers.empty() && !options.accept_workers) {
    return absl::InvalidArgumentError(
        "--workers is empty: name at least one worker as host:port, or all addresses of a name as "
        "dns:///name:port, or let workers name themselves with --accept_workers");
  }
  if (options.resolve_ms < 1) return absl::InvalidArgumentError("--resolve_ms must be at least 1");
  if (options.workers_max < 1 || options.workers_max > PageIndex::kWorkersMax / 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("--workers_max must be in [1, ", PageIndex::kWorkersMax / 2, "]"));
  }
  if (options.stuck_ms < 1) return absl::InvalidArgumentError("--stuck_ms must be at least 1");
  if (options.threads < 1) return absl::InvalidArgumentError("--http_threads must be at least 1");
  if (options.media.threads < 1) {
    return absl::InvalidArgumentError("--media_threads must be at least 1");
  }
  if (options.picker.port < -1 || options.picker.port > 65535) {
    return absl::InvalidArgumentError("--ext_proc_port must be in [-1, 65535]");
  }
  if (options.picker.endpoint_port < 1 || options.picker.endpoint_port > 65535) {
    return absl::InvalidArgumentError("--ext_proc_endpoint_port must be in [1, 65535]");
  }
  if (options.index_pages_max < 1 || options.index_pages_max > int64_t{1} << 30) {
    return absl::InvalidArgumentError("--index_pages_max must be in [1, 2^30]");
  }
  if (options.queue.answers_max < 1) {
    return absl::InvalidArgumentError("--queue_answers_max must be at least 1");
  }
  if (options.queue.bytes_max < 1) {
    return absl::InvalidArgumentError("--queue_bytes_max must be at least 1");
  }
  if (options.queue_wait_ms < 1) {
    return absl::InvalidArgumentError("--queue_wait_ms must be at least 1");
  }
  return absl::OkStatus();
}

// Health and reflection are switched on for all servers of a process, once.
void EnablePlugins() {
  static std::once_flag once;
  std::call_once(once, [] {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  });
}

class RouterImpl final : public Router {
 public:
  explicit RouterImpl(const RouterOptions& options)
      : loader_(options.media), work_(context_.get_executor()) {
    for (int i = 0; i < options.threads; ++i) {
      threads_.emplace_back([this] { context_.run(); });
    }
  }

  ~RouterImpl() override {
    Stop(0);
    stuck_watch_.reset();
    keeper_.reset();
    if (discovery_ != nullptr) discovery_->Stop();
    pool_.reset();
    work_.reset();
    for (std::thread& thread : threads_) thread.join();
    loader_.BlockingStop();
  }

  absl::Status Start(RouterOptions options) {
    ASSIGN_OR_RETURN(tenants_, Tenants::Start(options.tenants, metrics_));
    RETURN_IF_ERROR(StartWorkers(options));
    keeper_ = std::make_unique<AdapterKeeper>(pool_.get(), options.adapters);
    stuck_watch_ = std::make_unique<StuckWatch>(pool_.get(), options.stuck_ms);
    RETURN_IF_ERROR(StartGrpc(options));
    if (options.picker.port >= 0) {
      options.picker.body_bytes_max = options.http.body_bytes_max;
      ASSIGN_OR_RETURN(picker_, EndpointPicker::Start(context_, *pool_, loader_, options.http.host,
                                                      options.picker));
    }
    api_ = std::make_unique<HttpApi>(*pool_, *tenants_, loader_, metrics_, *keeper_, options.api);
    options.http.error_body = [](int status, absl::string_view message) {
      return ErrorBody(status, message);
    };
    ASSIGN_OR_RETURN(http_,
                     HttpServer::Start(context_, options.http,
                                       [this](const HttpRequest& request, ResponseWriter& writer) {
                                         return api_->Handle(request, writer);
                                       }));
    return absl::OkStatus();
  }

  uint16_t http_port() const override { return http_->port(); }
  uint16_t grpc_port() const override { return grpc_port_; }
  int ext_proc_port() const override { return picker_ == nullptr ? -1 : picker_->port(); }

  void Stop(int drain_ms) override {
    if (stopped_) return;
    stopped_ = true;
    const auto deadline = std::chrono::system_clock::now() + std::chrono::milliseconds(drain_ms);
    if (grpc_ != nullptr) grpc_->GetHealthCheckService()->SetServingStatus(false);
    if (registry_service_ != nullptr) registry_service_->Stop();
    if (http_ != nullptr) http_->Stop(drain_ms);
    if (picker_ != nullptr) picker_->Stop();
    if (grpc_ != nullptr) {
      grpc_->Shutdown(deadline);
      grpc_->Wait();
    }
  }

 private:
  absl::Status StartWorkers(const RouterOptions& options) {
    DiscoveryOptions discovery;
    for (const std::string& worker : options.workers) {
      absl::StatusOr<Target> target = ParseTarget(worker);
      if (!target.ok()) {
        return absl::InvalidArgumentError(absl::StrCat("--workers: ", target.status().message()));
      }
      discovery.workers.push_back(*std::move(target));
    }
    discovery.resolve_ms = options.resolve_ms;
    discovery.workers_max = options.workers_max;
    discovery.lookup = options.lookup;
    discovery_ = std::make_unique<Discovery>(context_, std::move(discovery), metrics_);
    pool_ = std::make_unique<WorkerPool>(
        context_, options.worker, options.failover, options.queue, options.queue_wait_ms,
        options.index_pages_max, [this] { discovery_->OnLost(); }, metrics_);
    discovery_->Start(pool_.get());
    return absl::OkStatus();
  }

  absl::Status StartGrpc(const RouterOptions& options) {
    EnablePlugins();
    grpc_service_ = std::make_unique<GrpcService>(context_, *pool_, *tenants_, loader_, metrics_);
    const std::string address = ListenAddress(options.http.host, options.grpc_port);
    grpc::ServerBuilder builder;
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &grpc_port_);
    builder.RegisterService(grpc_service_.get());
    registry_service_ = std::make_unique<RegistryService>(*discovery_, options.accept_workers);
    builder.RegisterService(registry_service_.get());
    if (options.accept_workers) {
      // A worker's call ends too when its host vanishes without a word, and the worker may ask for
      // the same of this router.
      builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kRegistryKeepaliveMs);
      builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kRegistryKeepaliveTimeoutMs);
      builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
      builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                                 kRegistryPingIntervalMinMs);
    }
    grpc_ = builder.BuildAndStart();
    if (grpc_ == nullptr || grpc_port_ == 0) {
      return absl::UnavailableError(
          absl::StrCat("cannot listen on ", address,
                       " for gRPC: the port is in use or not allowed; stop what "
                       "uses it or choose another --grpc_port"));
    }
    return absl::OkStatus();
  }

  RouterMetrics metrics_;
  MediaLoader loader_;  // Before all that may hold what it loaded.
  asio::io_context context_;
  asio::executor_work_guard<asio::io_context::executor_type> work_;
  std::vector<std::thread> threads_;
  std::unique_ptr<Tenants> tenants_;
  std::unique_ptr<Discovery> discovery_;
  std::unique_ptr<WorkerPool> pool_;
  std::unique_ptr<AdapterKeeper> keeper_;
  std::unique_ptr<StuckWatch> stuck_watch_;
  std::unique_ptr<GrpcService> grpc_service_;
  std::unique_ptr<RegistryService> registry_service_;
  int grpc_port_ = 0;
  std::unique_ptr<grpc::Server> grpc_;
  std::unique_ptr<EndpointPicker> picker_;  // Null: nobody may ask it.
  std::unique_ptr<HttpApi> api_;
  std::unique_ptr<HttpServer> http_;
  bool stopped_ = false;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Router>> Router::Start(RouterOptions options) {
  RETURN_IF_ERROR(Check(options));
  RETURN_IF_ERROR(CheckFetcherOptions(options.media.fetch));
  auto router = std::make_unique<RouterImpl>(options);
  RETURN_IF_ERROR(router->Start(std::move(options)));
  return router;
}

}  // namespace facet
