#include "worker/kv_cache.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace facet {
namespace {

// A plan for many short chats rather than one long one: sequences are counted as this long.
constexpr int kTypicalTokens = 4096;

int32_t PagesOf(int64_t tokens) {
  return static_cast<int32_t>((tokens + kPageTokens - 1) / kPageTokens);
}

// Keys and values of one page in one layer, in float32.
int64_t LayerPageBytes(const LayerConfig& layer) {
  return int64_t{2} * kPageTokens * layer.kv_heads * layer.head_dim *
         static_cast<int64_t>(sizeof(float));
}

}  // namespace

int32_t SlidingPagesMax(const TextConfig& config, int step_tokens_max, int tokens) {
  // Keys from window + 1 before the step's first row to its last, at both ends inside a page.
  const int64_t span = int64_t{config.sliding_window_tokens} + 1 + step_tokens_max;
  return std::min(PagesOf(tokens), PagesOf(span) + 1);
}

absl::StatusOr<KvPlan> PlanKv(const TextConfig& config, const KvPlanOptions& options) {
  KvPlan plan;
  for (const LayerConfig& layer : config.layers) {
    (layer.sliding ? plan.sliding_page_bytes : plan.full_page_bytes) += LayerPageBytes(layer);
  }
  const int context = options.context_tokens_max == 0
                          ? config.context_tokens_max
                          : std::min(options.context_tokens_max, config.context_tokens_max);
  const auto bytes_of_one = [&](int tokens) {
    return PagesOf(tokens) * plan.full_page_bytes +
           SlidingPagesMax(config, options.step_tokens_max, tokens) * plan.sliding_page_bytes;
  };
  const int typical = std::min(context, kTypicalTokens);
  const int64_t sequences =
      std::min<int64_t>(options.memory_bytes / bytes_of_one(typical), options.running_requests_max);
  const int32_t sliding_of_one = SlidingPagesMax(config, options.step_tokens_max, context);
  plan.sliding_pages = static_cast<int32_t>(std::max<int64_t>(
      sliding_of_one, sequences * SlidingPagesMax(config, options.step_tokens_max, typical)));
  // What is left goes to the full pool, but not more than all sequences at full length could use.
  const int64_t left = options.memory_bytes - plan.sliding_pages * plan.sliding_page_bytes;
  const int64_t full_max = int64_t{PagesOf(context)} * options.running_requests_max;
  const int64_t full_bytes = std::max<int64_t>(plan.full_page_bytes, 1);
  plan.full_pages =
      static_cast<int32_t>(std::min(full_max, std::max<int64_t>(left, 0) / full_bytes));
  plan.context_tokens_max =
      static_cast<int>(std::min<int64_t>(context, int64_t{plan.full_pages} * kPageTokens));
  const bool asked_for_more = options.context_tokens_max != 0 && plan.context_tokens_max < context;
  if (plan.full_pages < 1 || asked_for_more) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "a KV cache of ", options.memory_bytes >> 20, " MiB is too small: one sequence of ",
        asked_for_more ? context : typical, " tokens needs ",
        (bytes_of_one(asked_for_more ? context : typical) >> 20) + 1, " MiB"));
  }
  return plan;
}

absl::StatusOr<KvCache> KvCache::Make(const TextConfig& config, const KvPlan& plan,
                                      Device& device) {
  KvCache cache(plan, config.sliding_window_tokens, &device);
  for (const LayerConfig& layer : config.layers) {
    const int64_t pages = layer.sliding ? plan.sliding_pages : plan.full_pages;
    const int64_t bytes = pages * LayerPageBytes(layer);
    ASSIGN_OR_RETURN(DeviceBuffer buffer, device.Allocate(bytes));
    auto* keys = static_cast<float*>(buffer.get());
    cache.layers_.push_back({keys, keys + bytes / static_cast<int64_t>(2 * sizeof(float)),
                             layer.kv_heads, layer.head_dim});
    cache.buffers_.push_back(std::move(buffer));
    cache.layer_pools_.push_back(layer.sliding ? KvPool::kSliding : KvPool::kFull);
  }
  return cache;
}

std::vector<KvCache::Piece> KvCache::PiecesOf(KvPool pool, int32_t page) const {
  std::vector<Piece> pieces;
  for (size_t i = 0; i < layers_.size(); ++i) {
    if (layer_pools_[i] != pool) continue;
    const KvLayer& layer = layers_[i];
    const int64_t elements = int64_t{kPageTokens} * layer.kv_heads * layer.head_dim;
    const int64_t bytes = elements * static_cast<int64_t>(sizeof(float));
    for (float* rows : {layer.keys, layer.values}) {
      pieces.push_back({reinterpret_cast<uint8_t*>(rows + page * elements), bytes});
    }
  }
  return pieces;
}

void KvCache::CopyPageToHostBlocking(KvPool pool, int32_t page, uint8_t* host) const {
  for (const Piece& piece : PiecesOf(pool, page)) {
    device_->CopyToHostBlocking(host, piece.device, piece.bytes);
    host += piece.bytes;
  }
}

void KvCache::CopyPageToDevice(KvPool pool, int32_t page, const uint8_t* host) {
  for (const Piece& piece : PiecesOf(pool, page)) {
    device_->CopyToDevice(piece.device, host, piece.bytes);
    host += piece.bytes;
  }
}

}  // namespace facet
