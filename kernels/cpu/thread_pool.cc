#include "kernels/cpu/thread_pool.h"

#include "base/check.h"

namespace facet {
namespace {

// Loops follow each other within microseconds during a step, so a thread looks again this often
// before it sleeps: about 20 microseconds.
constexpr int kSpins = 2000;

template <typename Condition>
bool SpinUntil(Condition condition) {
  for (int i = 0; i < kSpins; ++i) {
    if (condition()) return true;
    __builtin_ia32_pause();
  }
  return false;
}

}  // namespace

ThreadPool::ThreadPool(int threads) {
  CHECK_GE(threads, 1);
  for (int i = 1; i < threads; ++i) workers_.emplace_back([this, i] { Work(i); });
}

ThreadPool::~ThreadPool() {
  stopping_ = true;
  epoch_.fetch_add(1);
  epoch_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::ParallelFor(int64_t tasks, absl::FunctionRef<void(int64_t, int)> task) {
  if (workers_.empty() || tasks <= 1) {
    for (int64_t i = 0; i < tasks; ++i) task(i, 0);
    return;
  }
  task_ = &task;
  tasks_ = tasks;
  next_task_ = 0;
  busy_workers_ = static_cast<int>(workers_.size());
  epoch_.fetch_add(1);
  epoch_.notify_all();
  RunTasks(0);
  if (SpinUntil([this] { return busy_workers_ == 0; })) return;
  for (int busy = busy_workers_; busy != 0; busy = busy_workers_) busy_workers_.wait(busy);
}

void ThreadPool::Work(int thread) {
  for (uint32_t seen = 0;;) {
    if (!SpinUntil([&] { return epoch_ != seen; })) epoch_.wait(seen);
    ++seen;
    if (stopping_) return;
    RunTasks(thread);
    if (busy_workers_.fetch_sub(1) == 1) busy_workers_.notify_all();
  }
}

void ThreadPool::RunTasks(int thread) {
  for (int64_t i = next_task_.fetch_add(1); i < tasks_; i = next_task_.fetch_add(1)) {
    (*task_)(i, thread);
  }
}

}  // namespace facet
