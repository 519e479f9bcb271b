#include "worker/registrar.h"

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/protocol_version.h"
#include "proto/registry.grpc.pb.h"

namespace facet {
namespace {

// A router that takes workers, or refuses them with `refusal`.
class FakeRouter final : public v1::Registry::Service {
 public:
  explicit FakeRouter(const std::string& address, grpc::Status refusal = grpc::Status::OK)
      : refusal_(std::move(refusal)) {
    grpc::ServerBuilder builder;
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~FakeRouter() override {
    {
      absl::MutexLock lock(&mutex_);
      stopping_ = true;
    }
    if (server_ != nullptr) server_->Shutdown();
  }

  bool listens() const { return server_ != nullptr && port_ != 0; }
  int port() const { return port_; }
  void AwaitCalls(int count) {
    const auto enough = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return calls_ >= count; };
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(&enough));
  }
  void AwaitLive(int count) {
    const auto so = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return live_ == count; };
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(&so));
  }
  v1::RegisterRequest last() {
    absl::MutexLock lock(&mutex_);
    return last_;
  }

  grpc::Status Register(grpc::ServerContext* context, const v1::RegisterRequest* request,
                        grpc::ServerWriter<v1::RegisterReply>* writer) override {
    absl::MutexLock lock(&mutex_);
    ++calls_;
    last_ = *request;
    if (!refusal_.ok()) return refusal_;
    writer->Write({});
    ++live_;
    while (!stopping_ && !context->IsCancelled()) {
      mutex_.AwaitWithTimeout(absl::Condition(&stopping_), absl::Milliseconds(1));
    }
    --live_;
    return {grpc::StatusCode::UNAVAILABLE, "stopping"};
  }

 private:
  const grpc::Status refusal_;
  int port_ = 0;
  absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  int calls_ ABSL_GUARDED_BY(mutex_) = 0;
  int live_ ABSL_GUARDED_BY(mutex_) = 0;
  v1::RegisterRequest last_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<grpc::Server> server_;
};

// The addresses of a name. Threads that look it up may outlive the test that shares it.
struct FakeName {
  absl::Mutex mutex;
  std::vector<std::string> hosts ABSL_GUARDED_BY(mutex);
};

std::unique_ptr<Registrar> Start(const std::string& router,
                                 const std::shared_ptr<FakeName>& name = nullptr) {
  RegistrarOptions options;
  options.routers = {ParseTarget(router).value()};
  options.address = "10.0.0.5:9381";
  options.resolve_ms = 1;
  options.backoff_ms_min = 1;
  options.backoff_ms_max = 20;
  if (name != nullptr) {
    options.lookup = [name](const std::string&) -> absl::StatusOr<Addresses> {
      absl::MutexLock lock(&name->mutex);
      Addresses addresses;
      for (const std::string& host : name->hosts) {
        addresses.push_back(boost::asio::ip::make_address(host));
      }
      return addresses;
    };
  }
  return Registrar::Start(std::move(options));
}

// Given a router, expect it to hear address and version; when the registrar ends, so does the call.
TEST(RegistrarTest, TellsOneRouter) {
  FakeRouter router("127.0.0.1:0");
  auto registrar = Start(absl::StrCat("127.0.0.1:", router.port()));
  router.AwaitLive(1);
  EXPECT_EQ(router.last().address(), "10.0.0.5:9381");
  EXPECT_EQ(router.last().protocol_version(), kProtocolVersion);
  registrar = nullptr;
  router.AwaitLive(0);
}

// Given a name, expect all its addresses to be told, and those that it gets later; the calls of
// those that it loses end.
TEST(RegistrarTest, FollowsAName) {
  FakeRouter first("127.0.0.1:0");
  FakeRouter second(absl::StrCat("127.0.0.2:", first.port()));
  FakeRouter third(absl::StrCat("127.0.0.3:", first.port()));
  ASSERT_TRUE(second.listens() && third.listens());
  const auto name = std::make_shared<FakeName>();
  const auto set = [&](std::vector<std::string> hosts) {
    absl::MutexLock lock(&name->mutex);
    name->hosts = std::move(hosts);
  };
  set({"127.0.0.1", "127.0.0.2"});
  const auto registrar = Start(absl::StrCat("dns:///routers:", first.port()), name);
  first.AwaitLive(1);
  second.AwaitLive(1);
  set({"127.0.0.2", "127.0.0.3"});
  third.AwaitLive(1);
  first.AwaitLive(0);
  second.AwaitLive(1);
  second.AwaitCalls(1);
}

// Given a router that goes and comes back, expect it to be told again.
TEST(RegistrarTest, TellsARouterThatComesBack) {
  auto router = std::make_unique<FakeRouter>("127.0.0.1:0");
  const std::string address = absl::StrCat("127.0.0.1:", router->port());
  const auto registrar = Start(address);
  router->AwaitLive(1);
  for (int round = 0; round < 3; ++round) {
    router = nullptr;
    router = std::make_unique<FakeRouter>(address);
    while (!router->listens()) router = std::make_unique<FakeRouter>(address);
    router->AwaitLive(1);
  }
}

// Given a router that refuses, expect it to be asked again and again, and one line in the log.
TEST(RegistrarTest, RefusalIsLoggedOnce) {
  FakeRouter router("127.0.0.1:0", {grpc::StatusCode::PERMISSION_DENIED, "no --accept_workers"});
  ::testing::internal::CaptureStderr();
  auto registrar = Start(absl::StrCat("127.0.0.1:", router.port()));
  router.AwaitCalls(5);
  EXPECT_EQ(registrar->registered_count(), 0);
  registrar = nullptr;
  const std::string log = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(log, ::testing::HasSubstr("no --accept_workers"));
  EXPECT_EQ(log.find("not registered"), log.rfind("not registered")) << log;
}

}  // namespace
}  // namespace facet
