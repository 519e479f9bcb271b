// Attention at the sizes of the 12B, for each format and form of keys and values: one row that
// decodes, and a chunk of a prompt. Rates are those of a second of processor time, of all threads
// together, so that they mean something on a machine that is shared. The bound of a decode is the
// reading of its keys and values, ReadMemory; that of a prompt is arithmetic. Copies of the layer
// are taken in turn, together larger than the caches, as those of a model are.
//
//   bazel run --config=release //kernels:attention_benchmark -- --benchmark_repetitions=5
//     --benchmark_report_aggregates_only
#include <algorithm>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "benchmark/benchmark.h"
#include "kernels/cpu/cpu_device.h"
#include "kernels/device.h"

namespace facet {
namespace {

constexpr int kThreads = 2;
constexpr int kQueryHeads = 16;
constexpr int kWindow = 1024;
constexpr int64_t kCopiesBytes = int64_t{256} << 20;

struct Shape {
  const char* name;
  int kv_heads;
  int head_dim;
  int pairs;
  bool sliding;
};
constexpr Shape kSliding = {"sliding", 8, 256, 0, true};
constexpr Shape kFull = {"full", 1, 512, 64, false};

struct Case {
  Shape shape;
  KvFormat format;
  KvForm form;
  int context;
  int rows;
};

// Rows [context - rows, context) of one sequence, over random keys and values.
class Attention {
 public:
  explicit Attention(const Case& c) : case_(c), device_(MakeCpuDevice({kThreads, "auto"}).value()) {
    layer_.format = c.format;
    layer_.form = c.form;
    layer_.kv_heads = c.shape.kv_heads;
    layer_.head_dim = c.shape.head_dim;
    layer_.turned_pairs = c.shape.pairs;
    key_norm_.assign(c.shape.head_dim, 1.0f);
    layer_.key_norm = key_norm_.data();
    pages_ = (c.context + kPageTokens - 1) / kPageTokens;
    copies_ = std::max<int64_t>(1, kCopiesBytes / (pages_ * layer_.page_bytes()));
    FillPages();
    std::mt19937 random(31);
    std::normal_distribution<float> normal;
    query_.resize(int64_t{c.rows} * kQueryHeads * c.shape.head_dim);
    // As small as keeps several keys in the running.
    for (float& value : query_) value = 0.05f * normal(random);
    out_.resize(query_.size());
    for (int r = 0; r < c.rows; ++r) {
      const int position = c.context - c.rows + r;
      position_.push_back(position);
      sequence_.push_back(0);
      first_key_.push_back(c.shape.sliding ? std::max(0, position - kWindow + 1) : 0);
      keys_ += position - first_key_.back() + 1;
    }
    for (int page = 0; page < pages_; ++page) page_table_.push_back(page);
  }

  void Run() {
    KvLayer layer = layer_;
    layer.pages = memory_.data() + turn_++ % copies_ * pages_ * layer.page_bytes();
    device_->Attend(query_.data(), kQueryHeads,
                    {case_.rows, position_.data(), sequence_.data(), first_key_.data(),
                     position_.data(), page_table_.data(), pages_},
                    layer, out_.data());
  }

  // Of keys and values that the first row to the last see, each once.
  int64_t bytes() const {
    return layer_.row_bytes() * layer_.kv_heads * (position_.back() - first_key_.front() + 1);
  }
  int64_t multiply_adds() const { return 2 * keys_ * kQueryHeads * case_.shape.head_dim; }

 private:
  void FillPages() {
    std::mt19937 random(30);
    std::normal_distribution<float> normal;
    std::vector<float> row(layer_.row_values());
    std::vector<uint8_t> page(layer_.page_bytes());
    for (size_t at = 0; at < page.size(); at += layer_.row_bytes()) {
      for (float& value : row) value = normal(random);
      EncodeKv(layer_.format, row.data(), layer_.row_values(), &page[at]);
    }
    memory_.resize(copies_ * pages_ * page.size());
    for (size_t at = 0; at < memory_.size(); at += page.size()) {
      std::memcpy(&memory_[at], page.data(), page.size());
    }
  }

  const Case case_;
  const std::unique_ptr<Device> device_;
  KvLayer layer_;
  std::vector<float> key_norm_, query_, out_;
  std::vector<uint8_t> memory_;
  std::vector<int32_t> position_, sequence_, first_key_, page_table_;
  int pages_ = 0;
  int64_t copies_ = 1, turn_ = 0, keys_ = 0;
};

void BM_Attend(benchmark::State& state, const Case& c) {
  Attention attention(c);
  for (auto _ : state) attention.Run();
  const auto runs = static_cast<double>(state.iterations());
  state.counters["kv_MiB"] = static_cast<double>(attention.bytes()) / (1 << 20);
  state.counters["kv_bytes_per_s"] = benchmark::Counter(
      runs * static_cast<double>(attention.bytes()), benchmark::Counter::kIsRate);
  state.counters["multiply_adds_per_s"] = benchmark::Counter(
      runs * static_cast<double>(attention.multiply_adds()), benchmark::Counter::kIsRate);
}

// How fast a thread reads what is in no cache of its own, as four streams at once: one alone waits
// longer for each line.
void BM_ReadMemory(benchmark::State& state) {
  const std::vector<uint64_t> memory(kCopiesBytes / 8, 1);
  constexpr size_t kStreams = 4;
  for (auto _ : state) {
    std::vector<std::thread> threads;
    threads.reserve(kThreads);
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([&, i] {
        const size_t size = memory.size() / kThreads / kStreams;
        const uint64_t* first = &memory[i * kStreams * size];
        uint64_t sums[kStreams][8] = {};
        for (size_t at = 0; at < size; at += 8) {
          for (size_t stream = 0; stream < kStreams; ++stream) {
            for (size_t j = 0; j < 8; ++j) sums[stream][j] += first[stream * size + at + j];
          }
        }
        benchmark::DoNotOptimize(sums);
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
  state.SetBytesProcessed(state.iterations() * kCopiesBytes);
}

void Register(const Case& c) {
  benchmark::RegisterBenchmark(absl::StrCat(c.rows == 1 ? "Decode/" : "Prefill/", c.shape.name, "/",
                                            c.context, "/", NameOf(c.format), "_", NameOf(c.form))
                                   .c_str(),
                               [c](benchmark::State& state) { BM_Attend(state, c); })
      ->Unit(benchmark::kMillisecond)
      ->MeasureProcessCPUTime();
}

void RegisterAll() {
  benchmark::RegisterBenchmark("ReadMemory", BM_ReadMemory)
      ->Unit(benchmark::kMillisecond)
      ->MeasureProcessCPUTime();
  constexpr KvFormat kFormats[] = {KvFormat::kF32, KvFormat::kBf16, KvFormat::kFp8, KvFormat::kQ8};
  for (const int rows : {1, 128}) {
    for (const int context : {1024, 16384}) {
      for (const KvFormat format : kFormats) {
        // A window does not grow with the context.
        if (context == 1024) Register({kSliding, format, KvForm::kPlain, 2 * kWindow, rows});
        Register({kFull, format, KvForm::kPlain, context, rows});
        Register({kFull, format, KvForm::kNarrow, context, rows});
      }
    }
  }
}

}  // namespace
}  // namespace facet

int main(int argc, char** argv) {
  facet::RegisterAll();
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
