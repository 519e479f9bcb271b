#ifndef FACET_ROUTER_CLUSTER_QUARANTINE_H_
#define FACET_ROUTER_CLUSTER_QUARANTINE_H_

#include <atomic>
#include <memory>
#include <utility>

namespace facet {

// Where answers go on that lost several workers in a row without a token in between. One of them
// may be what kills workers, and the others were only beside it; so they go on one at a time, and
// if a worker dies under one again, that one is to blame. Safe to use from any thread.
class Quarantine {
 public:
  // The one answer that is in quarantine now, until it is destroyed. May outlive the quarantine.
  class Stay {
   public:
    explicit Stay(std::shared_ptr<std::atomic<bool>> taken) : taken_(std::move(taken)) {}
    ~Stay() { taken_->store(false); }
    Stay(const Stay&) = delete;
    Stay& operator=(const Stay&) = delete;

   private:
    const std::shared_ptr<std::atomic<bool>> taken_;  // Shared with the quarantine.
  };

  // Null while another answer is in it: ask again later.
  std::unique_ptr<Stay> Enter() {
    return taken_->exchange(true) ? nullptr : std::make_unique<Stay>(taken_);
  }

 private:
  const std::shared_ptr<std::atomic<bool>> taken_ = std::make_shared<std::atomic<bool>>(false);
};

}  // namespace facet

#endif  // FACET_ROUTER_CLUSTER_QUARANTINE_H_
