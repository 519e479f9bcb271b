#ifndef FACET_WORKER_WORKER_SERVICE_H_
#define FACET_WORKER_WORKER_SERVICE_H_

#include "proto/worker.grpc.pb.h"
#include "worker/engine.h"
#include "worker/watch_board.h"

namespace facet {

// The gRPC face of an engine (contract: proto/worker.proto). Thread-safe; gRPC's threads call it,
// and all they do is enqueue. `engine` and `board` must outlive the server that this is registered
// with.
class WorkerService final : public v1::Worker::CallbackService {
 public:
  WorkerService(const v1::DescribeReply& description, Engine* engine, WatchBoard* board)
      : description_(description), engine_(*engine), board_(*board) {}

  grpc::ServerUnaryReactor* Describe(grpc::CallbackServerContext* context,
                                     const v1::DescribeRequest* request,
                                     v1::DescribeReply* reply) override;
  grpc::ServerBidiReactor<v1::SessionRequest, v1::SessionReply>* Session(
      grpc::CallbackServerContext* context) override;
  grpc::ServerWriteReactor<v1::GenerateReply>* Generate(
      grpc::CallbackServerContext* context, const v1::GenerateRequest* request) override;
  grpc::ServerWriteReactor<v1::WatchReply>* Watch(grpc::CallbackServerContext* context,
                                                  const v1::WatchRequest* request) override;

 private:
  const v1::DescribeReply description_;
  Engine& engine_;
  WatchBoard& board_;
};

}  // namespace facet

#endif  // FACET_WORKER_WORKER_SERVICE_H_
