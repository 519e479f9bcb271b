#include "base/grpc_log.h"

#include <grpc/support/log.h>

#include "base/log.h"

namespace facet {

void TakeOverGrpcLog() {
  gpr_set_log_function([](gpr_log_func_args* line) {
    Log(LogLevel::kDebug, line->message, {{"source", "grpc"}, {"file", line->file}});
  });
}

}  // namespace facet
