#ifndef FACET_WORKER_WORKER_SERVICE_H_
#define FACET_WORKER_WORKER_SERVICE_H_

#include "proto/worker.grpc.pb.h"
#include "worker/adapter_loader.h"
#include "worker/adapter_registry.h"
#include "worker/engine.h"
#include "worker/page_server.h"
#include "worker/watch_board.h"

namespace facet {

// The gRPC face of an engine (contract: proto/worker.proto). Thread-safe; gRPC's threads call it,
// and all they do is enqueue. What it is made from must outlive the server that this is registered
// with.
class WorkerService final : public v1::Worker::CallbackService {
 public:
  WorkerService(const v1::DescribeReply& description, Engine* engine, WatchBoard* board,
                AdapterRegistry* adapters, const PageServerOptions& pages)
      : description_(description),
        engine_(*engine),
        board_(*board),
        adapters_(*adapters),
        loader_(adapters),
        pages_(pages, [engine](std::vector<PoolKey> keys, PageServer::Taker taker) {
          engine->ReadPages(std::move(keys), std::move(taker));
        }) {}

  grpc::ServerUnaryReactor* Describe(grpc::CallbackServerContext* context,
                                     const v1::DescribeRequest* request,
                                     v1::DescribeReply* reply) override;
  grpc::ServerBidiReactor<v1::SessionRequest, v1::SessionReply>* Session(
      grpc::CallbackServerContext* context) override;
  grpc::ServerWriteReactor<v1::GenerateReply>* Generate(
      grpc::CallbackServerContext* context, const v1::GenerateRequest* request) override;
  grpc::ServerWriteReactor<v1::WatchReply>* Watch(grpc::CallbackServerContext* context,
                                                  const v1::WatchRequest* request) override;
  grpc::ServerWriteReactor<v1::PullPagesReply>* PullPages(
      grpc::CallbackServerContext* context, const v1::PullPagesRequest* request) override;
  grpc::ServerUnaryReactor* LoadAdapter(grpc::CallbackServerContext* context,
                                        const v1::LoadAdapterRequest* request,
                                        v1::LoadAdapterReply* reply) override;
  grpc::ServerUnaryReactor* UnloadAdapter(grpc::CallbackServerContext* context,
                                          const v1::UnloadAdapterRequest* request,
                                          v1::UnloadAdapterReply* reply) override;

 private:
  const v1::DescribeReply description_;
  Engine& engine_;
  WatchBoard& board_;
  AdapterRegistry& adapters_;
  AdapterLoader loader_;
  PageServer pages_;
};

// Tells `board`'s watchers of the registry's adapters, now and when they change.
void ObserveAdapters(AdapterRegistry& adapters, WatchBoard& board);

}  // namespace facet

#endif  // FACET_WORKER_WORKER_SERVICE_H_
