#include "router/media/work_pool.h"

#include <utility>

namespace facet {

WorkPool::WorkPool(int threads, int waiting_max) : waiting_max_(waiting_max) {
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { Work(); });
}

void WorkPool::BlockingStop() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

bool WorkPool::Add(std::vector<std::function<void()>> jobs) {
  absl::MutexLock lock(&mutex_);
  if (waiting_.size() + jobs.size() > static_cast<size_t>(waiting_max_)) return false;
  for (std::function<void()>& job : jobs) waiting_.push_back(std::move(job));
  return true;
}

void WorkPool::Work() {
  const auto wanted = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return stopping_ || !waiting_.empty();
  };
  for (;;) {
    std::function<void()> job;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(&wanted));
      if (waiting_.empty()) return;
      job = std::move(waiting_.front());
      waiting_.pop_front();
    }
    job();
  }
}

}  // namespace facet
