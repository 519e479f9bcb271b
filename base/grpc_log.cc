#include "base/grpc_log.h"

#include <grpc/support/log.h>

#include "absl/strings/match.h"
#include "base/log.h"

namespace facet {

void TakeOverGrpcLog() {
  gpr_set_log_function([](gpr_log_func_args* line) {
    // After this message gRPC ends the process, and nothing else says why.
    const bool fatal = absl::StartsWith(line->message, "assertion failed");
    Log(fatal ? LogLevel::kError : LogLevel::kDebug, line->message,
        {{"source", "grpc"}, {"file", line->file}});
  });
}

}  // namespace facet
