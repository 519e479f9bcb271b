#ifndef FACET_WORKER_TESTING_THREAD_GROUP_H_
#define FACET_WORKER_TESTING_THREAD_GROUP_H_

#include <unistd.h>

#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/check.h"
#include "kernels/shared_memory_collective.h"
#include "worker/group_follower.h"
#include "worker/group_leader.h"
#include "worker/loaded_model.h"

namespace facet::testing {

// A tensor-parallel group whose ranks are threads of this process, over shared memory as between
// processes: rank 0 is the test's, the others follow until this ends. With one rank, just a model.
class ThreadGroup {
 public:
  ThreadGroup(const std::string& path, LoadOptions options, int size)
      : segment_(size == 1 ? -1 : MakeSharedSegment(size).value()) {
    for (int rank = 1; rank < size; ++rank) {
      followers_.emplace_back([=, segment = segment_] {
        LoadedModel follower = Load(path, options, segment, rank, size);
        CHECK_OK(BlockingFollow(follower));
      });
    }
    leader_ = std::make_unique<LoadedModel>(Load(path, options, segment_, 0, size));
    LeadGroup(*leader_);
  }
  ~ThreadGroup() {
    leader_ = nullptr;
    for (std::thread& follower : followers_) follower.join();
    if (segment_ >= 0) close(segment_);
  }

  LoadedModel& leader() const { return *leader_; }

 private:
  static LoadedModel Load(const std::string& path, LoadOptions options, int segment, int rank,
                          int size) {
    if (size > 1) {
      options.collective = MakeSharedMemoryCollective(segment, rank, size, {}).value();
    }
    return LoadModel(path, options).value();
  }

  const int segment_;  // A descriptor, or -1.
  std::vector<std::thread> followers_;
  std::unique_ptr<LoadedModel> leader_;
};

}  // namespace facet::testing

#endif  // FACET_WORKER_TESTING_THREAD_GROUP_H_
