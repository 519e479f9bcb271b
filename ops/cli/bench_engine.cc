#include <sys/resource.h>

#include <boost/json.hpp>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <random>
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
#include "ops/cli/adapter_flag.h"
#include "ops/cli/command.h"
#include "ops/cli/json_lines.h"
#include "ops/cli/progress.h"
#include "worker/batch.h"
#include "worker/draft_policy.h"
#include "worker/model_flags.h"

ABSL_FLAG(int, prompt, 512, "Tokens of the prompt.");
ABSL_FLAG(int, generate, 64, "Tokens to generate in each row.");
ABSL_FLAG(std::string, batch, "1", "Rows that decode together, a list: 1,4,16.");
ABSL_FLAG(int, depth, 0, "Tokens that are in the context before the prompt.");
ABSL_FLAG(double, draft_acceptance, 0.7,
          "With --assistant: the likelihood that a draft is accepted, by a seeded coin.");
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
  // `adapter` may be null.
  Row(LoadedModel* model, const Adapter* adapter) : model_(*model), adapter_(adapter) {}
  ~Row() {
    PrefixCache& cache = model_.cache->pages();
    for (const int32_t page : pages_.full) cache.Release(KvPool::kFull, page);
    for (const int32_t page : pages_.sliding) {
      if (page != PageTables::kNoPage) cache.Release(KvPool::kSliding, page);
    }
  }

  int length() const { return length_; }
  const PageTables& pages() const { return pages_; }

  // Puts the next `tokens` into the batch, the last `outputs` of them as output rows. They are part
  // of the sequence once they are kept.
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
    batch.Add(ids, length_, &pages_, outputs, /*items=*/{}, adapter_);
    return absl::OkStatus();
  }
  void Keep(int tokens) {
    length_ += tokens;
    const int first_key = length_ - model_.config().sliding_window_tokens - 1;
    for (; (sliding_first_ + 1) * kPageTokens <= first_key; ++sliding_first_) {
      model_.cache->pages().Release(KvPool::kSliding, pages_.sliding[sliding_first_]);
      pages_.sliding[sliding_first_] = PageTables::kNoPage;
    }
  }

 private:
  LoadedModel& model_;
  const Adapter* const adapter_;
  PageTables pages_;
  int sliding_first_ = 0;  // logical sliding pages below this one are given back
  int length_ = 0;
};

double SecondsSince(absl::Time begin) { return absl::ToDoubleSeconds(absl::Now() - begin); }

// Seconds that it takes to bring `tokens` more into a row, in steps of at most kStepTokensMax.
absl::StatusOr<double> Fill(LoadedModel& model, Row& row, int tokens) {
  const absl::Time begin = absl::Now();
  for (int done = 0; done < tokens;) {
    const int size = std::min(kStepTokensMax, tokens - done);
    Batch batch;
    RETURN_IF_ERROR(row.Add(size, batch, /*outputs=*/done + size == tokens ? 1 : 0));
    model.runner->RunBlocking(batch);
    row.Keep(size);
    done += size;
  }
  return SecondsSince(begin);
}

// Decodes rows that all have one token to run, with drafts where the model has a drafter and they
// pay: the engine's own policy, but a seeded coin says whether a draft is accepted, for weights
// whose drafts mean nothing. All the work is done.
class Decoding {
 public:
  Decoding(LoadedModel* model, std::vector<std::unique_ptr<Row>>* rows)
      : model_(*model), rows_(*rows), acceptance_(rows->size()) {}

  // Gives back how many tokens the step gave.
  absl::StatusOr<int> Step() {
    Batch batch;
    for (auto& row : rows_) RETURN_IF_ERROR(row->Add(1 + drafts_, batch, 1 + drafts_));
    absl::Time begin = absl::Now();
    model_.runner->RunBlocking(batch);
    step_costs_.Add(batch.rows(), SecondsSince(begin));
    int tokens = 0;
    std::vector<Drafter::Row> next;
    DraftSituation situation;
    for (size_t r = 0; r < rows_.size(); ++r) {
      int accepted = 0;
      while (accepted < drafts_ && coin_(random_)) {
        ++accepted;
      }
      if (drafts_ > 0) acceptance_[r].Add(drafts_, accepted);
      if (drafts_ == 0) acceptance_[r].Skip();
      rows_[r]->Keep(1 + accepted);
      tokens += 1 + accepted;
      situation.acceptance.push_back(acceptance_[r].share());
      next.push_back({IdAt(rows_[r]->length(), model_.config().vocab_size), rows_[r]->length(),
                      &rows_[r]->pages(), static_cast<int32_t>(r * (1 + drafts_) + accepted)});
    }
    if (model_.drafter != nullptr) Draft(next, situation);
    return tokens;
  }

 private:
  void Draft(const std::vector<Drafter::Row>& next, DraftSituation& situation) {
    situation.drafts_max = model_.drafter->options().drafts_max;
    situation.draft_rows_max =
        model_.runner->options().output_rows_max - model_.running_requests_max;
    drafts_ = ChooseDraftCount(situation, step_costs_, draft_costs_);
    if (drafts_ == 0) return;
    const absl::Time begin = absl::Now();
    model_.drafter->DraftBlocking(next, model_.runner->output_states(), drafts_);
    draft_costs_.Add(static_cast<int>(next.size()), SecondsSince(begin) / drafts_);
  }

  LoadedModel& model_;
  std::vector<std::unique_ptr<Row>>& rows_;
  std::vector<DraftAcceptance> acceptance_;
  StepCosts step_costs_, draft_costs_;
  std::mt19937 random_{7};
  std::bernoulli_distribution coin_{absl::GetFlag(FLAGS_draft_acceptance)};
  int drafts_ = 0;
};

absl::StatusOr<Figures> Measure(LoadedModel& model, const Adapter* adapter, int rows,
                                Progress& progress) {
  const int prompt = absl::GetFlag(FLAGS_prompt), generate = absl::GetFlag(FLAGS_generate);
  std::vector<std::unique_ptr<Row>> batch_rows;
  double prefill_s = 0;
  for (int i = 0; i < rows; ++i) {
    batch_rows.push_back(std::make_unique<Row>(&model, adapter));
    if (absl::GetFlag(FLAGS_depth) > 0) {
      RETURN_IF_ERROR(Fill(model, *batch_rows.back(), absl::GetFlag(FLAGS_depth)).status());
    }
    // One prompt is measured; the other rows start from a token, as a decode costs the same.
    const int tokens = i == 0 ? prompt : 1;
    ASSIGN_OR_RETURN(const double seconds, Fill(model, *batch_rows.back(), tokens));
    if (i == 0) prefill_s = seconds;
  }
  Decoding decoding(&model, &batch_rows);
  const absl::Time begin = absl::Now();
  int tokens = 0;
  while (tokens < rows * generate) {
    ASSIGN_OR_RETURN(const int more, decoding.Step());
    tokens += more;
    progress.Show(std::min(generate, tokens / rows), generate);
  }
  return Figures{prompt / prefill_s, tokens / SecondsSince(begin)};
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
  if (!(absl::GetFlag(FLAGS_draft_acceptance) >= 0 && absl::GetFlag(FLAGS_draft_acceptance) <= 1)) {
    return absl::InvalidArgumentError("--draft_acceptance must be in [0, 1]");
  }
  const absl::Time begin = absl::Now();
  ASSIGN_OR_RETURN(LoadedModel model, LoadModelFromFlags());
  ASSIGN_OR_RETURN(const auto adapter, BlockingLoadAdapterFromFlag(model));
  const double load_s = absl::ToDoubleSeconds(absl::Now() - begin);
  if (!absl::GetFlag(FLAGS_json)) std::printf("batch  prefill tok/s  decode tok/s\n");
  for (const int rows : batches) {
    Progress progress(absl::StrCat("batch ", rows));
    ASSIGN_OR_RETURN(const Figures figures, Measure(model, adapter.get(), rows, progress));
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
    "[--assistant=PATH --draft_acceptance=0.7] [--adapter=PATH] [--json]: runs prompts of fixed "
    "ids and prints "
    "tokens per second; decode counts all rows\n"
    "together.\n\n"
    "  facet bench engine --model=facet-nano.gguf --batch=1,4,16",
    Run};

}  // namespace facet
