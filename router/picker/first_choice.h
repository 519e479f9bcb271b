#ifndef FACET_ROUTER_PICKER_FIRST_CHOICE_H_
#define FACET_ROUTER_PICKER_FIRST_CHOICE_H_

#include <boost/asio/awaitable.hpp>

#include "absl/status/statusor.h"
#include "router/api/request.h"
#include "router/cluster/worker_pool.h"
#include "router/media/media_loader.h"
#include "router/text/prompt_builder.h"

namespace facet {

// The first answer of a request as it would go to a worker, for those who want to know where it
// would go and do not send it. Errors as those that its endpoint gives.
boost::asio::awaitable<absl::StatusOr<BuiltChoice>> BuildFirstChoice(
    const WorkerPool& pool, MediaLoader& loader, absl::StatusOr<GenerationRequest> request,
    ClientLeft client_left);

}  // namespace facet

#endif  // FACET_ROUTER_PICKER_FIRST_CHOICE_H_
