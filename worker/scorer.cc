#include "worker/scorer.h"

#include <algorithm>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace facet {
namespace {

absl::Status Validate(const KvCache& cache, int vocab_size, absl::Span<const int32_t> tokens) {
  if (tokens.empty()) return absl::InvalidArgumentError("tokens is empty");
  const int context =
      std::min<int>(cache.plan().context_tokens_max, cache.plan().sliding_pages * kPageTokens);
  if (static_cast<int>(tokens.size()) > context) {
    return absl::InvalidArgumentError(
        absl::StrCat("tokens has ", tokens.size(), " ids, the KV cache holds ", context));
  }
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] < 0 || tokens[i] >= vocab_size) {
      return absl::InvalidArgumentError(
          absl::StrCat("tokens[", i, "] is ", tokens[i], ", the vocabulary has ", vocab_size));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Score> BlockingScore(ModelRunner& runner, KvCache& cache, int vocab_size,
                                    absl::Span<const int32_t> tokens, int top_count) {
  if (absl::Status status = Validate(cache, vocab_size, tokens); !status.ok()) return status;
  PageTables pages;
  const absl::Cleanup give_back = [&] {
    for (const int32_t page : pages.full) cache.pages().Release(KvPool::kFull, page);
    for (const int32_t page : pages.sliding) cache.pages().Release(KvPool::kSliding, page);
  };
  const int count = static_cast<int>(tokens.size());
  for (int i = 0; i < count; i += kPageTokens) {
    pages.full.push_back(cache.pages().Take(KvPool::kFull));
    pages.sliding.push_back(cache.pages().Take(KvPool::kSliding));
  }
  const int chunk = std::min(runner.options().rows_max, runner.options().output_rows_max);
  Score score;
  score.logprobs.push_back(0);
  for (int first = 0; first < count; first += chunk) {
    const int size = std::min(chunk, count - first);
    Batch batch;
    batch.Add(tokens.subspan(first, size), first, &pages, /*outputs=*/size);
    const absl::Span<const float> logits = runner.RunBlocking(batch);
    for (int row = 0; row < size; ++row) {
      const auto row_logits = logits.subspan(int64_t{row} * vocab_size, vocab_size);
      const Logprobs logprobs(row_logits);
      if (first + row + 1 < count) score.logprobs.push_back(logprobs.Of(tokens[first + row + 1]));
      score.top.push_back(logprobs.Top(top_count));
    }
  }
  return score;
}

}  // namespace facet
