#ifndef FACET_ROUTER_HTTP_DEBUG_ENDPOINTS_H_
#define FACET_ROUTER_HTTP_DEBUG_ENDPOINTS_H_

#include <boost/asio/awaitable.hpp>
#include <boost/json/fwd.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "router/admission/tenant.h"
#include "router/cluster/worker_pool.h"
#include "router/media/media_loader.h"

namespace facet {

// What the router knows of its workers and how it would choose, for people who wonder. Safe to use
// from any thread.

// GET /debug/workers.
boost::json::value DescribeWorkers(const WorkerPool& pool);
// POST /debug/placement: the body of a chat completion, or of a completion if it has no `messages`.
// What its first answer would cost at each worker for this tenant, whose cached prefixes may be its
// own, and which of them would get it; nothing is generated.
boost::asio::awaitable<absl::StatusOr<boost::json::value>> ExplainPlacement(
    const WorkerPool& pool, MediaLoader& loader, const std::string& body,
    const TenantRequest& tenant, ClientLeft client_left);

}  // namespace facet

#endif  // FACET_ROUTER_HTTP_DEBUG_ENDPOINTS_H_
