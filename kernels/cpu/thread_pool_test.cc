#include "kernels/cpu/thread_pool.h"

#include <atomic>
#include <vector>

#include "gtest/gtest.h"

namespace facet {
namespace {

// Given loops of many lengths one after the other, expect each task to run once in each.
TEST(ThreadPoolTest, RunsEachTaskOnce) {
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    for (int loop = 0; loop < 500; ++loop) {
      const int tasks = loop % 37;
      std::vector<std::atomic<int>> runs(tasks);
      pool.ParallelFor(tasks, [&](int64_t i, int thread) {
        EXPECT_LT(thread, threads);
        ++runs[i];
      });
      for (const auto& count : runs) EXPECT_EQ(count, 1);
    }
  }
}

// Given a pool that is destroyed without a loop, expect it to end.
TEST(ThreadPoolTest, StopsWhenIdle) { ThreadPool pool(3); }

}  // namespace
}  // namespace facet
