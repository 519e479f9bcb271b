#include "worker/kv_cache.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"

namespace facet {
namespace {

// A plan for many short chats rather than one long one: sequences are counted as this long.
constexpr int kTypicalTokens = 4096;

int32_t PagesOf(int64_t tokens) {
  return static_cast<int32_t>((tokens + kPageTokens - 1) / kPageTokens);
}

// A layer's shape, without its memory.
KvLayer LayerShape(const LayerConfig& layer, const KvLayout& layout) {
  KvLayer shape;
  shape.format = layout.format;
  shape.kv_heads = layer.kv_heads;
  shape.head_dim = layer.head_dim;
  if (layer.sliding || layout.form == KvForm::kPlain) return shape;
  shape.form = KvForm::kNarrow;
  shape.turned_pairs = layout.full_rope_pairs;
  return shape;
}

}  // namespace

int32_t SlidingPagesMax(const TextConfig& config, int step_tokens_max, int tokens) {
  // Keys from window + 1 before the step's first row to its last, at both ends inside a page.
  const int64_t span = int64_t{config.sliding_window_tokens} + 1 + step_tokens_max;
  return std::min(PagesOf(tokens), PagesOf(span) + 1);
}

absl::StatusOr<KvPlan> PlanKv(const TextConfig& config, const KvPlanOptions& options) {
  KvPlan plan;
  plan.layout = options.layout;
  if (options.layout.form == KvForm::kNarrow && options.layout.full_rope_pairs % 8 != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("--kv_form=narrow does not fit this model: its full layers turn ",
                     options.layout.full_rope_pairs, " pairs, which is no multiple of 8"));
  }
  for (const LayerConfig& layer : config.layers) {
    (layer.sliding ? plan.sliding_page_bytes : plan.full_page_bytes) +=
        LayerShape(layer, plan.layout).page_bytes();
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

absl::StatusOr<KvCache> KvCache::Make(const TextConfig& config, const KvPlan& plan, Device& device,
                                      absl::Span<const float* const> key_norms) {
  KvCache cache(plan, config.sliding_window_tokens, &device);
  for (size_t i = 0; i < config.layers.size(); ++i) {
    KvLayer layer = LayerShape(config.layers[i], plan.layout);
    if (layer.form == KvForm::kNarrow) {
      CHECK_LT(i, key_norms.size());
      layer.key_norm = key_norms[i];
    }
    const int64_t pages = config.layers[i].sliding ? plan.sliding_pages : plan.full_pages;
    ASSIGN_OR_RETURN(DeviceBuffer buffer, device.Allocate(pages * layer.page_bytes()));
    layer.pages = static_cast<uint8_t*>(buffer.get());
    cache.layers_.push_back(layer);
    cache.buffers_.push_back(std::move(buffer));
    cache.layer_pools_.push_back(config.layers[i].sliding ? KvPool::kSliding : KvPool::kFull);
  }
  return cache;
}

std::vector<KvCache::Piece> KvCache::PiecesOf(KvPool pool, int32_t page) const {
  std::vector<Piece> pieces;
  for (size_t i = 0; i < layers_.size(); ++i) {
    if (layer_pools_[i] != pool) continue;
    const KvLayer& layer = layers_[i];
    pieces.push_back({layer.pages + page * layer.page_bytes(), layer.page_bytes()});
  }
  return pieces;
}

KvPlan KvCache::host_plan() const {
  KvPlan plan = plan_;
  plan.full_page_bytes *= ranks();
  plan.sliding_page_bytes *= ranks();
  return plan;
}

void KvCache::CopyOwnToHostBlocking(KvPool pool, int32_t page, uint8_t* host) const {
  for (const Piece& piece : PiecesOf(pool, page)) {
    device_->CopyToHostBlocking(host, piece.device, piece.bytes);
    host += piece.bytes;
  }
}

void KvCache::CopyOwnToDevice(KvPool pool, int32_t page, const uint8_t* host) {
  for (const Piece& piece : PiecesOf(pool, page)) {
    device_->CopyToDevice(piece.device, host, piece.bytes);
    host += piece.bytes;
  }
}

void KvCache::CopyPageToHostBlocking(KvPool pool, int32_t page, uint8_t* host) const {
  if (ranks() == 1) return CopyOwnToHostBlocking(pool, page, host);
  before_copy_(pool, page, /*to_device=*/false);
  std::vector<uint8_t> own(plan_.page_bytes(pool));
  CopyOwnToHostBlocking(pool, page, own.data());
  group_->AllGather(own, host);
}

void KvCache::CopyPageToDevice(KvPool pool, int32_t page, const uint8_t* host) {
  if (ranks() == 1) return CopyOwnToDevice(pool, page, host);
  before_copy_(pool, page, /*to_device=*/true);
  group_->Send({host, static_cast<size_t>(page_bytes(pool))});
  CopyOwnToDevice(pool, page, host);
}

void KvCache::FollowCopyBlocking(KvPool pool, int32_t page, bool to_device) {
  CHECK(page >= 0 && page < pages_.page_count(pool)) << "page " << page;
  const int64_t own_bytes = plan_.page_bytes(pool);
  std::vector<uint8_t> all(page_bytes(pool)), own(own_bytes);
  if (to_device) {
    group_->Receive(absl::MakeSpan(all));
    return CopyOwnToDevice(pool, page, &all[group_->rank() * own_bytes]);
  }
  CopyOwnToHostBlocking(pool, page, own.data());
  group_->AllGather(own, all.data());
}

}  // namespace facet
