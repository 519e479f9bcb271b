#ifndef FACET_ROUTER_TEXT_ENDPOINTS_H_
#define FACET_ROUTER_TEXT_ENDPOINTS_H_

#include <boost/json/fwd.hpp>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "router/worker_pool.h"

namespace facet {

// Endpoints that need the tokenizer alone: request body in, answer out. UNAVAILABLE while no worker
// is known. Safe to use from any thread.

// POST /tokenize and /detokenize, as vLLM has them.
absl::StatusOr<boost::json::value> Tokenize(const WorkerPool& pool, absl::string_view body);
absl::StatusOr<boost::json::value> Detokenize(const WorkerPool& pool, absl::string_view body);
// GET /tokenizer_info, as vLLM has it: special tokens and the chat template.
absl::StatusOr<boost::json::value> TokenizerInfo(const WorkerPool& pool);
// POST /v1/messages/count_tokens.
absl::StatusOr<boost::json::value> CountTokens(const WorkerPool& pool, absl::string_view body);

}  // namespace facet

#endif  // FACET_ROUTER_TEXT_ENDPOINTS_H_
