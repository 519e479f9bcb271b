#include "worker/registrar.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <atomic>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <map>
#include <set>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/log.h"
#include "base/target_addresses.h"
#include "proto/protocol_version.h"
#include "proto/registry.grpc.pb.h"

namespace facet {
namespace {

namespace asio = boost::asio;

constexpr auto kLookupLimit = std::chrono::seconds(5);
// A router's host that vanishes without a word is noticed after both.
constexpr int kKeepaliveMs = 10'000, kKeepaliveTimeoutMs = 5'000;

// Tells one router, on a thread of its own that waits in the call.
class Teller {
 public:
  Teller(const std::string& router, const RegistrarOptions& options, std::atomic<int>& registered)
      : router_(router), options_(options), registered_(registered) {
    request_.set_address(options.address);
    request_.set_protocol_version(kProtocolVersion);
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
    arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
    arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, options.backoff_ms_min);
    arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, options.backoff_ms_min);
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, options.backoff_ms_max);
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    stub_ = v1::Registry::NewStub(
        grpc::CreateCustomChannel(router, grpc::InsecureChannelCredentials(), arguments));
    thread_ = std::thread([this] { Run(); });
  }

  ~Teller() {
    {
      absl::MutexLock lock(&mutex_);
      stopping_ = true;
      if (context_ != nullptr) context_->TryCancel();
    }
    thread_.join();
  }

 private:
  void Run() {
    int backoff_ms = options_.backoff_ms_min;
    for (;;) {
      const bool was_registered = BlockingTell();
      backoff_ms = was_registered ? options_.backoff_ms_min
                                  : std::min(2 * backoff_ms, options_.backoff_ms_max);
      absl::MutexLock lock(&mutex_);
      if (mutex_.AwaitWithTimeout(absl::Condition(&stopping_), absl::Milliseconds(backoff_ms))) {
        return;
      }
    }
  }

  // One call. Whether the router had taken this worker.
  bool BlockingTell() {
    grpc::ClientContext context;
    {
      absl::MutexLock lock(&mutex_);
      if (stopping_) return false;
      context_ = &context;
    }
    const auto reader = stub_->Register(&context, request_);
    v1::RegisterReply reply;
    const bool taken = reader->Read(&reply);
    if (taken) {
      ++registered_;
      logged_ = grpc::StatusCode::OK;
      LogInfo("registered at a router", {{"router", router_}, {"address", options_.address}});
      while (reader->Read(&reply)) continue;
      --registered_;
    }
    const grpc::Status status = reader->Finish();
    absl::MutexLock lock(&mutex_);
    context_ = nullptr;
    if (!stopping_ && logged_ != status.error_code()) {
      LogWarning(taken ? "no longer registered at a router" : "not registered at a router",
                 {{"router", router_}, {"reason", status.error_message()}});
      logged_ = status.error_code();
    }
    return taken;
  }

  const std::string router_;
  const RegistrarOptions& options_;
  std::atomic<int>& registered_;
  v1::RegisterRequest request_;
  std::unique_ptr<v1::Registry::Stub> stub_;
  grpc::StatusCode logged_ = grpc::StatusCode::OK;  // The thread's: the trouble last logged.
  absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  grpc::ClientContext* context_ ABSL_GUARDED_BY(mutex_) = nullptr;  // Of a call under way.
  std::thread thread_;
};

class RegistrarImpl final : public Registrar {
 public:
  explicit RegistrarImpl(RegistrarOptions options)
      : options_(std::move(options)), addresses_(options_.routers, options_.lookup) {
    asio::co_spawn(context_, Run(), asio::bind_cancellation_slot(cancel_.slot(), asio::detached));
    thread_ = std::thread([this] { context_.run(); });
  }

  ~RegistrarImpl() override {
    asio::post(context_, [this] {
      stopping_ = true;
      cancel_.emit(asio::cancellation_type::terminal);
    });
    thread_.join();
  }

  int registered_count() const override { return registered_; }

 private:
  asio::awaitable<void> Run() {
    co_await asio::this_coro::throw_if_cancelled(false);
    asio::steady_timer timer(context_);
    SetTellers(addresses_.listed());
    while (!stopping_ && addresses_.has_names()) {
      co_await addresses_.Resolve(kLookupLimit);
      std::set<std::string> routers = addresses_.listed();
      routers.merge(addresses_.resolved());
      SetTellers(std::move(routers));
      if (stopping_) co_return;
      timer.expires_after(std::chrono::milliseconds(options_.resolve_ms));
      co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
    }
  }

  void SetTellers(std::set<std::string> routers) {
    if (routers.size() > options_.routers_max && !std::exchange(logged_too_many_, true)) {
      LogWarning("more routers than this worker tells",
                 {{"routers", routers.size()}, {"told", options_.routers_max}});
    }
    while (routers.size() > options_.routers_max) routers.erase(std::prev(routers.end()));
    for (auto it = tellers_.begin(); it != tellers_.end();) {
      it = routers.count(it->first) == 0 ? tellers_.erase(it) : std::next(it);
    }
    for (const std::string& router : routers) {
      if (tellers_.count(router) > 0) continue;
      tellers_.emplace(router, std::make_unique<Teller>(router, options_, registered_));
    }
  }

  const RegistrarOptions options_;
  std::atomic<int> registered_ = 0;
  asio::io_context context_;  // Of one thread, which all that follows belongs to.
  asio::cancellation_signal cancel_;
  TargetAddresses addresses_;
  bool stopping_ = false;
  bool logged_too_many_ = false;
  std::map<std::string, std::unique_ptr<Teller>> tellers_;  // By the router's address.
  std::thread thread_;
};

}  // namespace

std::unique_ptr<Registrar> Registrar::Start(RegistrarOptions options) {
  return std::make_unique<RegistrarImpl>(std::move(options));
}

}  // namespace facet
