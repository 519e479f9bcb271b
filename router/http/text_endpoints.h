#ifndef FACET_ROUTER_HTTP_TEXT_ENDPOINTS_H_
#define FACET_ROUTER_HTTP_TEXT_ENDPOINTS_H_

#include <boost/asio/awaitable.hpp>
#include <boost/json/fwd.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "router/cluster/worker_pool.h"
#include "router/media/media_loader.h"

namespace facet {

// Endpoints that need the tokenizer alone: request body in, answer out. UNAVAILABLE while no worker
// is known. Safe to use from any thread.

// POST /tokenize, as vLLM has it, and /v1/messages/count_tokens. Media are decoded, since their
// tokens count.
boost::asio::awaitable<absl::StatusOr<boost::json::value>> Tokenize(const WorkerPool& pool,
                                                                    MediaLoader& loader,
                                                                    const std::string& body,
                                                                    ClientLeft client_left);
boost::asio::awaitable<absl::StatusOr<boost::json::value>> CountTokens(const WorkerPool& pool,
                                                                       MediaLoader& loader,
                                                                       const std::string& body,
                                                                       ClientLeft client_left);
// POST /detokenize, as vLLM has it.
absl::StatusOr<boost::json::value> Detokenize(const WorkerPool& pool, absl::string_view body);
// GET /tokenizer_info, as vLLM has it: special tokens and the chat template.
absl::StatusOr<boost::json::value> TokenizerInfo(const WorkerPool& pool);

}  // namespace facet

#endif  // FACET_ROUTER_HTTP_TEXT_ENDPOINTS_H_
