#include <sys/resource.h>

#include <boost/json.hpp>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/status_macros.h"
#include "ops/cli/command.h"
#include "ops/cli/json_lines.h"
#include "ops/cli/model_flags.h"
#include "ops/cli/progress.h"
#include "worker/batch.h"

ABSL_FLAG(int, prompt, 512, "Tokens of the prompt.");
ABSL_FLAG(int, generate, 64, "Tokens to generate in each row.");
ABSL_FLAG(std::string, batch, "1", "Rows that decode together, a list: 1,4,16.");
ABSL_FLAG(int, depth, 0, "Tokens that are in the context before the prompt.");
ABSL_FLAG(bool, json, false, "One JSON object a line instead of a table.");

namespace facet {
namespace {

constexpr int kStepTokensMax = 512;

struct Figures {
  double prefill_tokens_per_s;
  double decode_tokens_per_s;
};

// Ids that stand for text: any but the first few, which are control tokens. Fixed, so that runs
// compare.
int32_t IdAt(int position, int vocab_size) {
  return 8 + static_cast<int32_t>((int64_t{position} * 7919) % (vocab_size - 8));
}

// One sequence with pages of its own, filled by steps.
class Row {
 public:
  Row(LoadedModel* model) : model_(*model) {}
  ~Row() {
    PrefixCache& cache = model_.cache->pages();
    for (const int32_t page : pages_.full) cache.Release(KvPool::kFull, page);
    for (const int32_t page : pages_.sliding) cache.Release(KvPool::kSliding, page);
  }

  absl::Status Add(int tokens, Batch& batch, int outputs) {
    std::vector<int32_t> ids;
    for (int i = 0; i < tokens; ++i) ids.push_back(IdAt(length_ + i, model_.config().vocab_size));
    while (static_cast<int>(pages_.full.size()) * kPageTokens < length_ + tokens) {
      PrefixCache& cache = model_.cache->pages();
      if (cache.available(KvPool::kFull) == 0 || cache.available(KvPool::kSliding) == 0) {
        return absl::ResourceExhaustedError(
            "the KV cache is too small for this batch and depth: raise --kv_cache_mib");
      }
      pages_.full.push_back(cache.Take(KvPool::kFull));
      pages_.sliding.push_back(cache.Take(KvPool::kSliding));
    }
    batch.Add(ids, length_, &pages_, outputs);
    length_ += tokens;
    return absl::OkStatus();
  }

 private:
  LoadedModel& model_;
  PageTables pages_;
  int length_ = 0;
};

// Seconds that it takes to bring `tokens` more into a row, in steps of at most kStepTokensMax.
absl::StatusOr<double> Fill(LoadedModel& model, Row& row, int tokens) {
  const absl::Time begin = absl::Now();
  for (int done = 0; done < tokens;) {
    const int size = std::min(kStepTokensMax, tokens - done);
    Batch batch;
    RETURN_IF_ERROR(row.Add(size, batch, /*outputs=*/done + size == tokens ? 1 : 0));
    model.runner->RunBlocking(batch);
    done += size;
  }
  return absl::ToDoubleSeconds(absl::Now() - begin);
}

absl::StatusOr<Figures> Measure(LoadedModel& model, int rows, Progress& progress) {
  const int prompt = absl::GetFlag(FLAGS_prompt), generate = absl::GetFlag(FLAGS_generate);
  std::vector<std::unique_ptr<Row>> batch_rows;
  double prefill_s = 0;
  for (int i = 0; i < rows; ++i) {
    batch_rows.push_back(std::make_unique<Row>(&model));
    if (absl::GetFlag(FLAGS_depth) > 0) {
      RETURN_IF_ERROR(Fill(model, *batch_rows.back(), absl::GetFlag(FLAGS_depth)).status());
    }
    // One prompt is measured; the other rows start from a token, as a decode costs the same.
    const int tokens = i == 0 ? prompt : 1;
    ASSIGN_OR_RETURN(const double seconds, Fill(model, *batch_rows.back(), tokens));
    if (i == 0) prefill_s = seconds;
  }
  const absl::Time begin = absl::Now();
  for (int step = 0; step < generate; ++step) {
    Batch batch;
    for (auto& row : batch_rows) RETURN_IF_ERROR(row->Add(1, batch, /*outputs=*/1));
    model.runner->RunBlocking(batch);
    progress.Show(step + 1, generate);
  }
  const double decode_s = absl::ToDoubleSeconds(absl::Now() - begin);
  return Figures{prompt / prefill_s, double{1} * rows * generate / decode_s};
}

absl::StatusOr<std::vector<int>> Batches() {
  std::vector<int> batches;
  for (const absl::string_view text : absl::StrSplit(absl::GetFlag(FLAGS_batch), ',')) {
    int rows;
    if (!absl::SimpleAtoi(text, &rows) || rows < 1 || rows > 64) {
      return absl::InvalidArgumentError(
          absl::StrCat("--batch=", absl::GetFlag(FLAGS_batch), " is not a list of 1 to 64"));
    }
    batches.push_back(rows);
  }
  return batches;
}

int64_t PeakRssBytes() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} * 1024;
}

absl::Status Run(const std::vector<absl::string_view>&) {
  ASSIGN_OR_RETURN(const std::vector<int> batches, Batches());
  if (absl::GetFlag(FLAGS_prompt) < 1 || absl::GetFlag(FLAGS_generate) < 1 ||
      absl::GetFlag(FLAGS_depth) < 0) {
    return absl::InvalidArgumentError("--prompt and --generate must be at least 1, --depth 0");
  }
  const absl::Time begin = absl::Now();
  ASSIGN_OR_RETURN(LoadedModel model, LoadModelFromFlags());
  const double load_s = absl::ToDoubleSeconds(absl::Now() - begin);
  if (!absl::GetFlag(FLAGS_json)) std::printf("batch  prefill tok/s  decode tok/s\n");
  for (const int rows : batches) {
    Progress progress(absl::StrCat("batch ", rows));
    ASSIGN_OR_RETURN(const Figures figures, Measure(model, rows, progress));
    if (absl::GetFlag(FLAGS_json)) {
      PrintLine({{"batch", rows},
                 {"prefill_tokens_per_s", figures.prefill_tokens_per_s},
                 {"decode_tokens_per_s", figures.decode_tokens_per_s},
                 {"load_s", load_s},
                 {"peak_rss_bytes", PeakRssBytes()}});
    } else {
      std::printf("%5d  %13.2f  %12.2f\n", rows, figures.prefill_tokens_per_s,
                  figures.decode_tokens_per_s);
    }
  }
  return absl::OkStatus();
}

}  // namespace

const Command kBenchEngineCommand = {
    "bench engine", "speed of the engine on a model: prefill and decode",
    "facet bench engine --model=PATH [--prompt=512] [--generate=64] [--batch=1,4,16] [--depth=0]\n"
    "[--json]: runs prompts of fixed ids and prints tokens per second; decode counts all rows\n"
    "together.\n\n"
    "  facet bench engine --model=facet-nano.gguf --batch=1,4,16",
    Run};

}  // namespace facet
