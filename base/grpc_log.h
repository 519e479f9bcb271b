#ifndef FACET_BASE_GRPC_LOG_H_
#define FACET_BASE_GRPC_LOG_H_

namespace facet {

// Sends what gRPC logs of itself to our log, as level debug: its lines are no JSON, and what an
// operator would act on is logged by those who use it. Only what ends the process, an assertion of
// gRPC that failed, is an error. Call once, before gRPC is used.
void TakeOverGrpcLog();

}  // namespace facet

#endif  // FACET_BASE_GRPC_LOG_H_
