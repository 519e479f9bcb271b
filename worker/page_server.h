#ifndef FACET_WORKER_PAGE_SERVER_H_
#define FACET_WORKER_PAGE_SERVER_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "proto/worker.grpc.pb.h"
#include "worker/peer_source.h"

namespace facet {

struct PageServerOptions {
  PageFormat format;  // of this worker
  int pulls_max = 4;  // at once; one more is refused, and computed where it came from
  // Copied at once, while what was copied before is being sent; a page may be larger.
  // So each pull takes twice that of memory.
  int64_t batch_bytes = int64_t{64} << 20;
};

// Answers PullPages (proto/worker.proto). gRPC's threads call it; it must outlive the server that
// serves it.
class PageServer {
 public:
  // Hands over copies of pages, in order; an empty one is not here.
  using Taker = std::function<void(std::vector<std::string> contents)>;
  // Calls the taker once, later: not before it returns, which it does without waiting.
  using Reader = std::function<void(std::vector<PoolKey> pages, Taker taker)>;

  PageServer(PageServerOptions options, Reader reader)
      : options_(std::move(options)), reader_(std::move(reader)) {}

  grpc::ServerWriteReactor<v1::PullPagesReply>* Pull(const v1::PullPagesRequest& request);

  int pulls() const { return pulls_; }

 private:
  class Reactor;

  const PageServerOptions options_;
  const Reader reader_;
  std::atomic<int> pulls_{0};  // under way
};

}  // namespace facet

#endif  // FACET_WORKER_PAGE_SERVER_H_
