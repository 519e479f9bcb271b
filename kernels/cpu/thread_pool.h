#ifndef FACET_KERNELS_CPU_THREAD_POOL_H_
#define FACET_KERNELS_CPU_THREAD_POOL_H_

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "absl/functional/function_ref.h"

namespace facet {

// A fixed set of threads that share the tasks of one loop at a time. The caller takes part, so
// `threads` = 1 starts none. One thread calls ParallelFor; it never runs two loops at once.
class ThreadPool {
 public:
  // REQUIRES: threads >= 1.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls task(i, thread) once for each i in [0, tasks), thread in [0, size()), in any order, and
  // returns when all are done.
  void ParallelFor(int64_t tasks, absl::FunctionRef<void(int64_t task, int thread)> task);

 private:
  void Work(int thread);
  void RunTasks(int thread);

  std::vector<std::thread> workers_;
  // Set before epoch_ rises, read after it has risen.
  const absl::FunctionRef<void(int64_t, int)>* task_ = nullptr;
  int64_t tasks_ = 0;
  std::atomic<int64_t> next_task_{0};
  std::atomic<int> busy_workers_{0};
  std::atomic<uint32_t> epoch_{0};  // rises by one for each loop
  std::atomic<bool> stopping_{false};
};

}  // namespace facet

#endif  // FACET_KERNELS_CPU_THREAD_POOL_H_
