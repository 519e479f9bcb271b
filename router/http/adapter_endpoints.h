#ifndef FACET_ROUTER_HTTP_ADAPTER_ENDPOINTS_H_
#define FACET_ROUTER_HTTP_ADAPTER_ENDPOINTS_H_

#include <boost/asio/awaitable.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "router/cluster/adapter_keeper.h"
#include "router/cluster/worker_pool.h"

namespace facet {

// POST /v1/load_lora_adapter and /v1/unload_lora_adapter, as vLLM has them: the body names an
// adapter, and on loading the path where workers find it; all ready workers are asked, and the
// answer, a sentence, comes when requests may, or may no more, name it. Safe to use from any
// thread.
struct AdapterEndpoints {
  WorkerPool& pool;
  AdapterKeeper& keeper;
  bool allowed = false;  // Otherwise PERMISSION_DENIED: whoever may load makes workers read files.

  // InvalidParam, NOT_FOUND where there is no such path, UNAVAILABLE without a ready worker. If one
  // worker fails, those that did not keep the adapter, and requests for it go to them.
  boost::asio::awaitable<absl::StatusOr<std::string>> Load(const std::string& body) const;
  // NOT_FOUND if no worker holds it.
  boost::asio::awaitable<absl::StatusOr<std::string>> Unload(const std::string& body) const;
};

}  // namespace facet

#endif  // FACET_ROUTER_HTTP_ADAPTER_ENDPOINTS_H_
