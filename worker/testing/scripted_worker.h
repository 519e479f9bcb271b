#ifndef FACET_WORKER_TESTING_SCRIPTED_WORKER_H_
#define FACET_WORKER_TESTING_SCRIPTED_WORKER_H_

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/check.h"
#include "grpcpp/grpcpp.h"
#include "proto/worker.grpc.pb.h"

// Workers that pages are pulled from: for the tests of pulling.

namespace facet::testing {

// Serves one service on a port that the kernel picks, until it is stopped or ends.
class LoopbackServer {
 public:
  explicit LoopbackServer(grpc::Service* service) {
    grpc::ServerBuilder builder;
    // As a worker does: lets pings through that notice one which hangs.
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 1000);
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(service);
    server_ = builder.BuildAndStart();
    CHECK(server_ != nullptr);
  }
  ~LoopbackServer() { Stop(); }
  void Stop() {
    server_->Shutdown(absl::ToChronoTime(absl::Now()));
    server_->Wait();
  }
  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }

 private:
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

// Answers PullPages as a test wants it, on gRPC's threads.
class ScriptedWorker final : public v1::Worker::Service {
 public:
  using Script = std::function<grpc::Status(const v1::PullPagesRequest& request,
                                            grpc::ServerWriter<v1::PullPagesReply>* writer)>;
  explicit ScriptedWorker(Script script) : script_(std::move(script)) {}
  grpc::Status PullPages(grpc::ServerContext*, const v1::PullPagesRequest* request,
                         grpc::ServerWriter<v1::PullPagesReply>* writer) override {
    ++pulls_;
    return script_(*request, writer);
  }
  int pulls() const { return pulls_; }

 private:
  const Script script_;
  std::atomic<int> pulls_{0};
};

}  // namespace facet::testing

#endif  // FACET_WORKER_TESTING_SCRIPTED_WORKER_H_
