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

// Where a chunk from `first` on ends, at `end` at most unless it is one image: that is not cut.
int ChunkEnd(int first, int end, absl::Span<const MediaItem> media) {
  for (const MediaItem& item : media) {
    if (!item.image || item.first_token >= end || item.end() <= end) continue;
    return item.first_token > first ? item.first_token : item.end();
  }
  return end;
}

}  // namespace

absl::StatusOr<Score> BlockingScore(ModelRunner& runner, KvCache& cache, int vocab_size,
                                    absl::Span<const int32_t> tokens, int top_count,
                                    absl::Span<const MediaItem> media, const Adapter* adapter) {
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
  const int output_rows = std::min(runner.options().rows_max, runner.options().output_rows_max);
  Score score;
  score.logprobs.push_back(0);
  for (int first = 0; first < count;) {
    const int end = ChunkEnd(first, std::min(first + output_rows, count), media);
    // An image has more rows than outputs are computed at once: then it runs as often as it takes,
    // and stores the same keys each time.
    for (int begin = first; begin < end; begin += output_rows) {
      Batch batch;
      batch.Add(tokens.subspan(first, end - first), first, &pages, /*outputs=*/0, media, adapter);
      const int rows = std::min(output_rows, end - begin);
      for (int row = 0; row < rows; ++row) batch.output_rows.push_back(begin - first + row);
      const absl::Span<const float> logits = runner.RunBlocking(batch);
      for (int row = 0; row < rows; ++row) {
        const Logprobs logprobs(logits.subspan(int64_t{row} * vocab_size, vocab_size));
        const int next = begin + row + 1;
        if (next < count) score.logprobs.push_back(logprobs.Of(tokens[next]));
        score.top.push_back(logprobs.Top(top_count));
      }
    }
    first = end;
  }
  return score;
}

}  // namespace facet
