#ifndef FACET_ROUTER_GRPC_SERVICE_H_
#define FACET_ROUTER_GRPC_SERVICE_H_

#include <boost/asio/io_context.hpp>

#include "proto/inference.grpc.pb.h"
#include "router/admission/tenants.h"
#include "router/cluster/worker_pool.h"
#include "router/media/media_loader.h"
#include "router/metrics.h"

namespace facet {

// facet.v1.Inference, over the same path as HTTP. gRPC's threads only post; a call's work is a
// coroutine on a strand of `context`.
class GrpcService final : public v1::Inference::CallbackService {
 public:
  // All must outlive it; `context` must run until the server is shut down.
  GrpcService(boost::asio::io_context& context, WorkerPool& pool, const Tenants& tenants,
              MediaLoader& loader, RouterMetrics& metrics)
      : context_(context), pool_(pool), tenants_(tenants), loader_(loader), metrics_(metrics) {}

  grpc::ServerWriteReactor<v1::GenerateTextReply>* Generate(
      grpc::CallbackServerContext* server_context, const v1::GenerateTextRequest* request) override;

 private:
  boost::asio::io_context& context_;
  WorkerPool& pool_;
  const Tenants& tenants_;
  MediaLoader& loader_;
  RouterMetrics& metrics_;
};

}  // namespace facet

#endif  // FACET_ROUTER_GRPC_SERVICE_H_
