#include "router/cluster/registry_service.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/listen_address.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "base/target.h"
#include "proto/protocol_version.h"

namespace facet {
namespace {

grpc::Status ToGrpc(const absl::Status& status) {
  return {static_cast<grpc::StatusCode>(status.code()), std::string(status.message())};
}

// A call that never was.
class RefusedCall final : public grpc::ServerWriteReactor<v1::RegisterReply> {
 public:
  explicit RefusedCall(const absl::Status& reason) { Finish(ToGrpc(reason)); }
  void OnDone() override { delete this; }
};

}  // namespace

// One worker's call. Deletes itself in OnDone.
class RegistryService::Call final : public grpc::ServerWriteReactor<v1::RegisterReply> {
 public:
  Call(RegistryService& service, std::string address)
      : service_(service), address_(std::move(address)) {}

  const std::string& address() const { return address_; }
  void Accept() {
    absl::MutexLock lock(&mutex_);
    writing_ = true;
    StartWrite(&reply_);
  }
  void End(grpc::Status status) {
    absl::MutexLock lock(&mutex_);
    if (std::exchange(ended_, true)) return;
    status_ = std::move(status);
    if (!writing_) Finish(status_);
  }

  void OnWriteDone(bool ok) override {
    absl::MutexLock lock(&mutex_);
    writing_ = false;
    if (ended_) Finish(status_);
  }
  void OnCancel() override { End(grpc::Status::CANCELLED); }
  void OnDone() override {
    service_.OnEnd(*this);
    delete this;
  }

 private:
  RegistryService& service_;
  const std::string address_;
  const v1::RegisterReply reply_;
  absl::Mutex mutex_;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  grpc::Status status_ ABSL_GUARDED_BY(mutex_);
};

grpc::ServerWriteReactor<v1::RegisterReply>* RegistryService::Register(
    grpc::CallbackServerContext*, const v1::RegisterRequest* request) {
  std::string address;
  absl::Status status = Check(*request, address);
  if (status.ok()) {
    auto call = std::make_unique<Call>(*this, address);
    status = Begin(*call);
    if (status.ok()) {
      LogInfo("worker registers", {{"worker", address}});
      call->Accept();
      return call.release();
    }
  }
  LogWarning("worker may not register",
             {{"worker", request->address().substr(0, 256)}, {"reason", status.message()}});
  return new RefusedCall(status);
}

absl::Status RegistryService::Check(const v1::RegisterRequest& request,
                                    std::string& address) const {
  if (!accept_) {
    return absl::PermissionDeniedError("this router was started without --accept_workers");
  }
  if (request.protocol_version() != kProtocolVersion) {
    return absl::FailedPreconditionError(absl::StrCat("protocol_version is ",
                                                      request.protocol_version(),
                                                      ", this router's is ", kProtocolVersion));
  }
  const absl::StatusOr<Target> target = ParseOneTarget(request.address());
  if (!target.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("address: ", target.status().message()));
  }
  if (IsWildcardHost(target->host)) {
    return absl::InvalidArgumentError(
        absl::StrCat("address: \"", request.address(), "\" says nothing of which host it is"));
  }
  address = ListenAddress(target->host, target->port);
  return absl::OkStatus();
}

absl::Status RegistryService::Begin(Call& call) {
  absl::MutexLock lock(&mutex_);
  if (stopping_) return absl::UnavailableError("this router is stopping");
  RETURN_IF_ERROR(discovery_.Join(call.address()));
  calls_.insert(&call);
  return absl::OkStatus();
}

void RegistryService::OnEnd(Call& call) {
  {
    absl::MutexLock lock(&mutex_);
    calls_.erase(&call);
  }
  discovery_.Leave(call.address());
}

void RegistryService::Stop() {
  absl::MutexLock lock(&mutex_);
  stopping_ = true;
  for (Call* const call : calls_) {
    call->End({grpc::StatusCode::UNAVAILABLE, "this router is stopping"});
  }
}

}  // namespace facet
