#ifndef FACET_ROUTER_CLUSTER_HANDSHAKE_H_
#define FACET_ROUTER_CLUSTER_HANDSHAKE_H_

#include <optional>
#include <string>

#include "proto/worker.pb.h"
#include "router/text/served_model.h"

namespace facet {

// Why a worker is not used.
struct WorkerRefusal {
  // Of facet_worker_refusals_total: bad_description, protocol_differs, model_differs,
  // tokenizer_differs, page_key_differs, page_format_differs or context_too_small.
  const char* reason;
  std::string message;  // For the log.
};

// What keeps a worker that says this of itself from working with this router, which serves `model`;
// null before the first worker was heard, when any model will do.
std::optional<WorkerRefusal> CheckWorker(const v1::DescribeReply& description,
                                         const ServedModel* model);

}  // namespace facet

#endif  // FACET_ROUTER_CLUSTER_HANDSHAKE_H_
