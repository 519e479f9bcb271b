#include <algorithm>
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
#include "ops/cli/progress.h"
#include "worker/batch.h"
#include "worker/engine.h"
#include "worker/engine_options.h"
#include "worker/model_flags.h"

ABSL_FLAG(std::string, cached, "1024,4096,16384", "Tokens of the cached prefix, a list.");
ABSL_FLAG(int, tail, 64, "Tokens of the prompt after it.");
ABSL_FLAG(int, rounds, 3, "Times that each is measured; the median counts.");

namespace facet {
namespace {

// Counts the ends of requests.
class Ends final : public StepSink {
 public:
  void OnStep(std::vector<Output> outputs) override {
    for (const Output& output : outputs) {
      if (output.reply.finish_reason() == v1::FINISH_REASON_UNSPECIFIED) continue;
      ++count;
      ledger = output.reply.ledger();
    }
  }
  int count = 0;
  v1::Ledger ledger;
};

std::vector<int32_t> Prompt(int tokens, int vocab_size) {
  std::vector<int32_t> ids;
  for (int i = 0; i < tokens; ++i) {
    ids.push_back(8 + static_cast<int32_t>(int64_t{i} * 7919 % (vocab_size - 8)));
  }
  return ids;
}

// Makes the cache hold the pages of a prefix as if they had been computed: what they hold is of no
// matter for time. INVALID_ARGUMENT if they do not fit.
absl::Status CachePrefix(KvCache& cache, absl::Span<const int32_t> ids, const std::string& salt) {
  const int pages = static_cast<int>(ids.size()) / kPageTokens;
  if (cache.pages().available(KvPool::kFull) < pages) {
    return absl::InvalidArgumentError(
        absl::StrCat("--cached=", ids.size(), " does not fit: raise --kv_cache_mib"));
  }
  const int sliding = std::min(pages, cache.pages().available(KvPool::kSliding));
  std::vector<int32_t> full_pages, sliding_pages;
  PageKey key = RootPageKey(salt);
  for (int i = 0; i < pages; ++i) {
    key = NextPageKey(key, ids.subspan(int64_t{i} * kPageTokens, kPageTokens), i * kPageTokens);
    const int32_t page = cache.pages().Take(KvPool::kFull);
    full_pages.push_back(cache.pages().Publish(KvPool::kFull, page, key, i));
    if (i < pages - sliding) continue;
    const int32_t window_page = cache.pages().Take(KvPool::kSliding);
    sliding_pages.push_back(cache.pages().Publish(KvPool::kSliding, window_page, key, i));
  }
  for (const int32_t page : full_pages) cache.pages().Release(KvPool::kFull, page);
  for (const int32_t page : sliding_pages) cache.pages().Release(KvPool::kSliding, page);
  return absl::OkStatus();
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Seconds from a request's arrival to its first token, with all but its tail in the cache.
absl::StatusOr<double> TimeToFirstToken(LoadedModel& model, absl::Span<const int32_t> ids,
                                        int cached, const std::string& salt) {
  RETURN_IF_ERROR(CachePrefix(*model.cache, ids.subspan(0, cached), salt));
  auto ends = std::make_shared<Ends>();
  Engine engine(EngineOptionsFor(model), PartsOf(model));
  v1::GenerateRequest request;
  request.mutable_prompt_tokens()->Add(ids.begin(), ids.end());
  request.set_tokens_max(1);
  request.set_cache_salt(salt);
  const absl::Time begin = absl::Now();
  RETURN_IF_ERROR(engine.Submit(request, ends, 1));
  while (ends->count == 0) engine.RunOneStep();
  const double seconds = absl::ToDoubleSeconds(absl::Now() - begin);
  if (static_cast<int>(ends->ledger.cached_tokens()) != cached) {
    return absl::InternalError(absl::StrCat("only ", ends->ledger.cached_tokens(), " of ", cached,
                                            " tokens came from the cache"));
  }
  return seconds;
}

// Seconds of the step that computes the tail, with its context in place.
double StepTime(LoadedModel& model, absl::Span<const int32_t> ids, int cached) {
  PrefixCache& cache = model.cache->pages();
  PageTables pages;
  const int page_count = static_cast<int>(ids.size() + kPageTokens - 1) / kPageTokens;
  const int first_sliding =
      std::max(0, cached - model.config().sliding_window_tokens - 1) / kPageTokens;
  for (int i = 0; i < page_count; ++i) {
    pages.full.push_back(cache.Take(KvPool::kFull));
    pages.sliding.push_back(i < first_sliding ? PageTables::kNoPage : cache.Take(KvPool::kSliding));
  }
  Batch batch;
  batch.Add(ids.subspan(cached), cached, &pages, /*outputs=*/1);
  const absl::Time begin = absl::Now();
  model.runner->RunBlocking(batch);
  const double seconds = absl::ToDoubleSeconds(absl::Now() - begin);
  for (const int32_t page : pages.full) cache.Release(KvPool::kFull, page);
  for (const int32_t page : pages.sliding) {
    if (page != PageTables::kNoPage) cache.Release(KvPool::kSliding, page);
  }
  return seconds;
}

absl::Status Run(const std::vector<absl::string_view>&) {
  const int tail = absl::GetFlag(FLAGS_tail), rounds = absl::GetFlag(FLAGS_rounds);
  if (tail < 1 || rounds < 1) {
    return absl::InvalidArgumentError("--tail and --rounds must be at least 1");
  }
  ASSIGN_OR_RETURN(LoadedModel model, LoadModelFromFlags());
  for (const absl::string_view text : absl::StrSplit(absl::GetFlag(FLAGS_cached), ',')) {
    int cached;
    if (!absl::SimpleAtoi(text, &cached) || cached < kPageTokens || cached % kPageTokens != 0 ||
        cached + tail >= model.cache->plan().context_tokens_max) {
      return absl::InvalidArgumentError(
          absl::StrCat("--cached=", text, " is no multiple of ", kPageTokens, " that fits into ",
                       model.cache->plan().context_tokens_max, " tokens"));
    }
    const std::vector<int32_t> ids = Prompt(cached + tail, model.config().vocab_size);
    std::vector<double> first_token, step;
    Progress progress(absl::StrCat("cached ", cached));
    // In turn, so that both see the same machine.
    for (int round = 0; round < rounds; ++round) {
      ASSIGN_OR_RETURN(const double seconds,
                       TimeToFirstToken(model, ids, cached, absl::StrCat(cached, " ", round)));
      first_token.push_back(seconds);
      step.push_back(StepTime(model, ids, cached));
      progress.Show(round + 1, rounds);
    }
    PrintLine({{"cached", cached},
               {"tail", tail},
               {"time_to_first_token_s", Median(first_token)},
               {"step_s", Median(step)},
               {"ratio", Median(first_token) / Median(step)}});
  }
  return absl::OkStatus();
}

}  // namespace

const Command kBenchPrefixCommand = {
    "bench prefix", "time to first token behind a cached prefix",
    "facet bench prefix --model=PATH [--cached=1024,4096] [--tail=64] [--rounds=3]: for each "
    "length\n"
    "of a cached prefix, the time to the first token of a prompt that has --tail tokens more, and\n"
    "that of the step alone with its context in place; one JSON object a line.\n\n"
    "  facet bench prefix --model=facet-nano.gguf --cached=1024",
    Run};

}  // namespace facet
