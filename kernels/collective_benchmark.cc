// An all-reduce between two processes: this one measures, its child takes part.
#include <benchmark/benchmark.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <string>
#include <vector>

#include "base/check.h"
#include "kernels/gloo_collective.h"
#include "kernels/shared_memory_collective.h"

namespace facet {
namespace {

// What a decode step of the 12B sums for each row, twice a layer.
constexpr int64_t kHiddenSize = 3840;

// Passes this rank's address to the other one and takes theirs.
std::vector<std::string> SwapAddresses(int line, int rank, const std::string& own) {
  CHECK_EQ(write(line, own.data(), own.size()), static_cast<ssize_t>(own.size()));
  std::vector<std::string> addresses(2);
  std::string& other = addresses[1 - rank];
  other.resize(own.size());
  CHECK_EQ(read(line, other.data(), other.size()), static_cast<ssize_t>(other.size()));
  return addresses;
}

std::unique_ptr<Collective> Join(bool gloo, int segment, int line, int rank) {
  if (!gloo) return MakeSharedMemoryCollective(segment, rank, 2, {}).value();
  auto mesh = GlooMesh::Listen(rank, 2, "127.0.0.1").value();
  const auto addresses = SwapAddresses(line, rank, mesh->addresses()[1 - rank]);
  return mesh->BlockingConnect(addresses, {}).value();
}

// The child sums for as long as the parent says that it goes on.
void TakePart(Collective& collective, int64_t count) {
  std::vector<float> x(count, 1.0f);
  for (float goes_on = 1;;) {
    CHECK_OK(collective.Broadcast(&goes_on, sizeof(goes_on)));
    if (goes_on == 0) return;
    CHECK_OK(collective.AllReduceSum(x.data(), count));
    std::fill(x.begin(), x.end(), 1.0f);
  }
}

void AllReduce(benchmark::State& state, bool gloo) {
  const int64_t count = state.range(0) * kHiddenSize;
  const int segment = MakeSharedSegment(2).value();
  int ends[2];
  CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  const pid_t child = fork();
  if (child == 0) {
    TakePart(*Join(gloo, segment, ends[1], 1), count);
    _exit(0);
  }
  std::vector<double> seconds;
  {
    const auto collective = Join(gloo, segment, ends[0], 0);
    std::vector<float> x(count);
    float goes_on = 1;
    for (auto unused : state) {
      std::fill(x.begin(), x.end(), 1.0f);
      // Both begin at once, as after equal halves of a layer.
      CHECK_OK(collective->Broadcast(&goes_on, sizeof(goes_on)));
      const auto begin = std::chrono::steady_clock::now();
      CHECK_OK(collective->AllReduceSum(x.data(), count));
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
      seconds.push_back(took.count());
      state.SetIterationTime(took.count());
    }
    goes_on = 0;
    collective->Leave();
    CHECK_OK(collective->Broadcast(&goes_on, sizeof(goes_on)));
    waitpid(child, nullptr, 0);
  }
  std::sort(seconds.begin(), seconds.end());
  state.counters["p50_us"] = seconds[seconds.size() / 2] * 1e6;
  state.counters["p90_us"] = seconds[seconds.size() * 9 / 10] * 1e6;
  close(segment);
  for (const int end : ends) close(end);
}

BENCHMARK_CAPTURE(AllReduce, shared_memory, false)
    ->Arg(1)
    ->Arg(16)
    ->Arg(512)
    ->UseManualTime()
    ->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(AllReduce, gloo, true)
    ->Arg(1)
    ->Arg(16)
    ->Arg(512)
    ->UseManualTime()
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace facet

BENCHMARK_MAIN();
