#ifndef FACET_ROUTER_CLUSTER_MAILBOX_H_
#define FACET_ROUTER_CLUSTER_MAILBOX_H_

#include <functional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "proto/worker.pb.h"

namespace facet {

// What a worker sent for one request and its relay has not read yet. Shared by the worker client,
// which puts in from gRPC's threads, and the relay, which takes out on its strand.
class Mailbox {
 public:
  struct Contents {
    std::vector<v1::GenerateReply> replies;
    absl::Status lost;  // Why no more will come, where it was not the worker that ended it.
  };

  // `wake` is called from any thread after something was put in. `tokens_max` bounds what waits.
  Mailbox(std::function<void()> wake, size_t tokens_max)
      : wake_(std::move(wake)), tokens_max_(tokens_max) {}

  // False when the reader is so slow that the bound is reached: the request must be cancelled.
  [[nodiscard]] bool Put(v1::GenerateReply reply);
  // No more will come.
  void PutLost(absl::Status reason);
  Contents TakeAll();

 private:
  const std::function<void()> wake_;
  const size_t tokens_max_;
  absl::Mutex mutex_;
  Contents contents_ ABSL_GUARDED_BY(mutex_);
  size_t tokens_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace facet

#endif  // FACET_ROUTER_CLUSTER_MAILBOX_H_
