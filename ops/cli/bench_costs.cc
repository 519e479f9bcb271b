#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/status_macros.h"
#include "ops/cli/command.h"
#include "ops/cli/progress.h"
#include "ops/simulation/cost_table.h"
#include "worker/batch.h"
#include "worker/engine_options.h"
#include "worker/model_flags.h"

ABSL_FLAG(int, key_depth, 2048, "Tokens of context at which a key's cost is measured.");
ABSL_FLAG(int, repeats, 5, "Times that each step is measured; the median counts.");

namespace facet {
namespace {

// Sequences of equal depth, with pages of their own that hold nothing of meaning: for how long a
// step takes, that is of no matter. Gives the pages back.
class Rows {
 public:
  Rows(LoadedModel& model, int sequences, int depth, int tokens)
      : model_(model), depth_(depth), tokens_(tokens), tables_(sequences) {
    PrefixCache& cache = model.cache->pages();
    const int pages = (depth + tokens + kPageTokens - 1) / kPageTokens;
    const int first_sliding =
        std::max(0, depth - model.config().sliding_window_tokens - 1) / kPageTokens;
    for (PageTables& table : tables_) {
      for (int i = 0; i < pages; ++i) {
        table.full.push_back(cache.Take(KvPool::kFull));
        table.sliding.push_back(i < first_sliding ? PageTables::kNoPage
                                                  : cache.Take(KvPool::kSliding));
      }
    }
  }
  ~Rows() {
    PrefixCache& cache = model_.cache->pages();
    for (const PageTables& table : tables_) {
      for (const int32_t page : table.full) cache.Release(KvPool::kFull, page);
      for (const int32_t page : table.sliding) {
        if (page != PageTables::kNoPage) cache.Release(KvPool::kSliding, page);
      }
    }
  }
  Rows(const Rows&) = delete;
  Rows& operator=(const Rows&) = delete;

  // The next `tokens` of each, of which the last gives logits.
  double StepSeconds() {
    const std::vector<int32_t> ids(tokens_, 7);
    Batch batch;
    for (const PageTables& table : tables_) batch.Add(ids, depth_, &table, /*outputs=*/1);
    const absl::Time begin = absl::Now();
    model_.runner->RunBlocking(batch);
    return absl::ToDoubleSeconds(absl::Now() - begin);
  }
  double MedianSeconds(int repeats) {
    StepSeconds();  // The first touches memory.
    std::vector<double> seconds;
    for (int i = 0; i < repeats; ++i) seconds.push_back(StepSeconds());
    std::sort(seconds.begin(), seconds.end());
    return seconds[seconds.size() / 2];
  }

 private:
  LoadedModel& model_;
  const int depth_, tokens_;
  std::vector<PageTables> tables_;
};

// How many sequences of so many tokens, with others to compute, fit beside each other.
int SequencesThatFit(const LoadedModel& model, int tokens, int most) {
  const KvPlan& plan = model.cache->plan();
  const int pages = (tokens + kPageTokens - 1) / kPageTokens;
  const int window_pages = std::min(pages, model.config().sliding_window_tokens / kPageTokens + 3);
  return std::min({most, plan.full_pages / pages, plan.sliding_pages / window_pages});
}

absl::Status Run(const std::vector<absl::string_view>&) {
  const int depth = absl::GetFlag(FLAGS_key_depth), repeats = absl::GetFlag(FLAGS_repeats);
  if (repeats < 1) return absl::InvalidArgumentError("--repeats must be at least 1");
  ASSIGN_OR_RETURN(LoadedModel model, LoadModelFromFlags());
  const EngineOptions options = EngineOptionsFor(model);
  const KvPlan& plan = model.cache->plan();
  const int rows = SequencesThatFit(model, depth + 1, options.running_requests_max);
  const int chunk = options.step_tokens_max;
  if (depth < kPageTokens || depth + chunk > plan.context_tokens_max || rows < 2) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--key_depth is ", depth, ", of which two sequences do not fit; from ", kPageTokens,
        " on, with ", chunk, " tokens more, at most ", plan.context_tokens_max));
  }
  Progress progress("measured");
  const double one_s = Rows(model, 1, kPageTokens, 1).MedianSeconds(repeats);
  progress.Show(1, 5);
  const double shallow_s = Rows(model, rows, kPageTokens, 1).MedianSeconds(repeats);
  progress.Show(2, 5);
  const double deep_s = Rows(model, rows, depth, 1).MedianSeconds(repeats);
  progress.Show(3, 5);
  const double first_chunk_s = Rows(model, 1, 0, chunk).MedianSeconds(repeats);
  progress.Show(4, 5);
  const double deep_chunk_s = Rows(model, 1, depth, chunk).MedianSeconds(repeats);
  progress.Show(5, 5);

  // Each constant follows from the steps that differ in it alone; noise gives none below 0.
  CostTable costs;
  const auto positive = [](double value) { return std::max(0.0, value); };
  costs.decode_row_s = positive(shallow_s - one_s) / (rows - 1);
  costs.decode_key_s = positive(deep_s - shallow_s) / rows / (depth - kPageTokens + 1);
  costs.step_s = std::max(1e-6, one_s - costs.decode_row_s);
  costs.prefill_key_s = positive(deep_chunk_s - first_chunk_s) / chunk / depth;
  const double chunk_keys = 0.5 * chunk * (chunk + 1.0);
  costs.prefill_token_s =
      std::max(1e-9, (first_chunk_s - costs.step_s - costs.prefill_key_s * chunk_keys) / chunk);
  costs.running_requests_max = options.running_requests_max;
  costs.waiting_requests_max = options.waiting_requests_max;
  costs.step_tokens_max = chunk;
  costs.context_tokens_max = options.context_tokens_max;
  costs.sliding_window_tokens = options.sliding_window_tokens;
  costs.full_pages = plan.full_pages;
  costs.sliding_pages = plan.sliding_pages;
  costs.full_page_bytes = plan.full_page_bytes;
  costs.sliding_page_bytes = plan.sliding_page_bytes;
  std::fputs(CostTableText(costs).c_str(), stdout);
  return absl::OkStatus();
}

}  // namespace

const Command kBenchCostsCommand = {
    "bench costs", "what steps take here: the cost table of facet simulate",
    "facet bench costs --model=PATH [--key_depth=2048] [--repeats=5] > costs.json: times five\n"
    "steps of the model (one decode, many, many at --key_depth, a chunk of a prompt, the same at\n"
    "--key_depth), and writes the cost table that follows, with the limits that a worker of these\n"
    "flags has. Nothing else should run meanwhile. What pulling takes is to be added by hand.\n\n"
    "  facet bench costs --model=facet-nano.gguf --key_depth=1024 > costs.json",
    Run};

}  // namespace facet
