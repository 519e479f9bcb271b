#ifndef FACET_ROUTER_CLUSTER_REGISTRY_SERVICE_H_
#define FACET_ROUTER_CLUSTER_REGISTRY_SERVICE_H_

#include <grpcpp/grpcpp.h>

#include <set>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "proto/registry.grpc.pb.h"
#include "router/cluster/discovery.h"

namespace facet {

// The side of proto/registry.proto that routers have. gRPC's threads do all of it: a call tells
// `discovery` of its worker when it begins and when it ends.
class RegistryService final : public v1::Registry::CallbackService {
 public:
  // Refuses all calls unless `accept`: whoever may register gets prompts. `discovery` must outlive
  // the server that this is registered with.
  RegistryService(Discovery& discovery, bool accept) : discovery_(discovery), accept_(accept) {}

  // Ends all calls, and refuses others.
  void Stop() ABSL_LOCKS_EXCLUDED(mutex_);

  grpc::ServerWriteReactor<v1::RegisterReply>* Register(
      grpc::CallbackServerContext* context, const v1::RegisterRequest* request) override;

 private:
  class Call;
  // Why not; else `address` is where the worker is reached.
  absl::Status Check(const v1::RegisterRequest& request, std::string& address) const;
  absl::Status Begin(Call& call) ABSL_LOCKS_EXCLUDED(mutex_);
  void OnEnd(Call& call) ABSL_LOCKS_EXCLUDED(mutex_);

  Discovery& discovery_;
  const bool accept_;
  absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::set<Call*> calls_ ABSL_GUARDED_BY(mutex_);  // That live; each deletes itself.
};

}  // namespace facet

#endif  // FACET_ROUTER_CLUSTER_REGISTRY_SERVICE_H_
