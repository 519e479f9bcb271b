#include "router/cluster/mailbox.h"

#include <utility>

namespace facet {

bool Mailbox::Put(v1::GenerateReply reply) {
  bool fits;
  {
    absl::MutexLock lock(&mutex_);
    tokens_ += reply.tokens_size();
    fits = tokens_ <= tokens_max_;
    if (fits) {
      contents_.replies.push_back(std::move(reply));
    } else {
      contents_.lost = absl::AbortedError("The client reads too slowly.");
    }
  }
  wake_();
  return fits;
}

void Mailbox::PutLost(absl::Status reason) {
  {
    absl::MutexLock lock(&mutex_);
    contents_.lost.Update(reason);
  }
  wake_();
}

Mailbox::Contents Mailbox::TakeAll() {
  absl::MutexLock lock(&mutex_);
  tokens_ = 0;
  return std::exchange(contents_, Contents());
}

}  // namespace facet
