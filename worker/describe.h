#ifndef FACET_WORKER_DESCRIBE_H_
#define FACET_WORKER_DESCRIBE_H_

#include <string>

#include "proto/worker.pb.h"
#include "worker/engine.h"
#include "worker/loaded_model.h"

namespace facet {

// What a worker tells routers about the model it serves. `model_name` empty: the file's own name.
v1::DescribeReply DescribeWorker(const LoadedModel& model, const EngineOptions& options,
                                 const std::string& model_name);

}  // namespace facet

#endif  // FACET_WORKER_DESCRIBE_H_
