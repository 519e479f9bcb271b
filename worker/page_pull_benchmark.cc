// How fast pages go from one worker to another over loopback, both in this process, and what bounds
// it: copying, and checksums at both ends.
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/check.h"
#include "benchmark/benchmark.h"
#include "grpcpp/grpcpp.h"
#include "worker/page_puller.h"
#include "worker/page_server.h"
#include "worker/page_wire.h"

namespace facet {
namespace {

constexpr int kPages = 64;
// As a full page of the 12B in float32.
constexpr int64_t kPageBytes = int64_t{2} << 20;
const PageFormat kFormat = {"benchmark", {kPageBytes, kPageBytes}};

// Copies what is asked for from one page, on threads of its own, as an engine's would.
class Service final : public v1::Worker::CallbackService {
 public:
  Service()
      : page_(kPageBytes, 'p'), pages_({kFormat}, [this](auto keys, auto taker) {
          absl::MutexLock lock(&mutex_);
          threads_.emplace_back([this, keys = std::move(keys), taker = std::move(taker)] {
            taker(std::vector<std::string>(keys.size(), page_));
          });
        }) {}
  ~Service() override {
    for (std::thread& thread : threads_) thread.join();
  }
  grpc::ServerWriteReactor<v1::PullPagesReply>* PullPages(
      grpc::CallbackServerContext*, const v1::PullPagesRequest* request) override {
    return pages_.Pull(*request);
  }

 private:
  const std::string page_;
  absl::Mutex mutex_;
  std::vector<std::thread> threads_ ABSL_GUARDED_BY(mutex_);
  PageServer pages_;
};

void BM_Pull(benchmark::State& state) {
  Service service;
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service);
  const auto server = builder.BuildAndStart();
  PagePuller puller({kFormat});
  absl::Mutex mutex;
  int left = 0;  // under the mutex
  puller.Start([&] {
    for (const PageCopy& page : puller.TakeCompleted()) {
      CHECK(page.ok);
      absl::MutexLock lock(&mutex);
      --left;
    }
  });
  std::vector<std::string> memory(kPages, std::string(kPageBytes, '\0'));
  for (auto _ : state) {
    std::vector<PageCopy> pages;
    for (int i = 0; i < kPages; ++i) {
      pages.push_back({{KvPool::kFull, {static_cast<uint8_t>(i)}},
                       i,
                       0,
                       reinterpret_cast<uint8_t*>(memory[i].data())});
    }
    {
      absl::MutexLock lock(&mutex);
      left = kPages;
    }
    puller.Pull(absl::StrCat("127.0.0.1:", port), std::move(pages), absl::Minutes(1));
    absl::MutexLock lock(&mutex);
    const auto done = [&] { return left == 0; };
    mutex.Await(absl::Condition(&done));
  }
  state.SetBytesProcessed(state.iterations() * kPages * kPageBytes);
  puller.BlockingStop();
  server->Shutdown();
}
BENCHMARK(BM_Pull)->MeasureProcessCPUTime()->UseRealTime()->Unit(benchmark::kMillisecond);

void BM_Copy(benchmark::State& state) {
  std::vector<std::string> from(kPages, std::string(kPageBytes, 'p')), to = from;
  for (auto _ : state) {
    for (int i = 0; i < kPages; ++i) std::memcpy(to[i].data(), from[i].data(), kPageBytes);
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * kPages * kPageBytes);
}
BENCHMARK(BM_Copy)->UseRealTime()->Unit(benchmark::kMillisecond);

void BM_Digest(benchmark::State& state) {
  const std::string piece(kPullPieceBytesMax, 'p');
  for (auto _ : state) {
    benchmark::DoNotOptimize(DigestOfPiece({KvPool::kFull, {}}, 0, piece));
  }
  state.SetBytesProcessed(state.iterations() * kPullPieceBytesMax);
}
BENCHMARK(BM_Digest)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace facet

BENCHMARK_MAIN();
