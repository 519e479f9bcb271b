#include "router/cluster/situation.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

namespace facet {
namespace {

constexpr double kAnswerSmoothing = 0.02;  // Weight of the newest in the average of answers.
// The same of how far off the rates are, which changes with the load; one odd answer shall not
// close the door.
constexpr double kFactorSmoothing = 0.02, kFactorMin = 0.5, kFactorMax = 10;
constexpr double kLateGrowth = 1.1;

PlacementWish WishOf(const v1::GenerateRequest& request, const SharedPageKeys& keys,
                     const ServedShape& shape) {
  const int resumed = request.resume_from_size();
  PlacementWish wish;
  wish.prompt_tokens = static_cast<uint32_t>(request.prompt_tokens_size() + resumed);
  wish.answer_tokens =
      std::min<double>(shape.answer_tokens, static_cast<double>(request.tokens_max()) - resumed);
  wish.page_tokens = static_cast<uint32_t>(shape.page_tokens);
  wish.window_pages = static_cast<uint32_t>(shape.window_pages);
  wish.affinity = request.sampling().seed();
  if (!keys->empty()) {
    // The whole prompt, as far as it fills pages: prompts with a common beginning spread too.
    std::memcpy(&wish.affinity, keys->back().data(), sizeof(wish.affinity));
  }
  return wish;
}

}  // namespace

Situation SituationOf(const v1::GenerateRequest& request, const SharedPageKeys& keys,
                      const ServedShape& shape, const PageDirectory& directory,
                      std::vector<WorkerSnapshot> workers) {
  Situation situation{WishOf(request, keys, shape), std::move(workers)};
  if (keys->empty() || request.has_prompt_logprobs()) return situation;
  const int tokens = request.prompt_tokens_size() + request.resume_from_size();
  const size_t pages = (tokens - 1) / shape.page_tokens;  // A worker computes at least the last.
  thread_local std::vector<PageDirectory::Holding> holdings;
  directory.Lookup(absl::MakeSpan(*keys).subspan(0, pages), holdings);
  for (WorkerSnapshot& worker : situation.workers) {
    if (worker.id >= static_cast<int>(holdings.size())) continue;
    const PageDirectory::Holding& holding = holdings[worker.id];
    worker.cached_tokens = static_cast<uint32_t>(holding.usable_pages * shape.page_tokens);
    worker.held_tokens = static_cast<uint32_t>(holding.told_pages * shape.page_tokens);
  }
  return situation;
}

v1::KvSource SourceOf(const Situation& situation, const PlacementEstimate& estimate) {
  v1::KvSource source;
  if (estimate.source < 0) return source;
  source.set_address(std::string(estimate.source_address));
  source.set_pages(situation.workers[estimate.source].held_tokens / situation.wish.page_tokens);
  return source;
}

RequestCost CostOf(const Situation& situation) {
  uint32_t cached = 0;
  for (const WorkerSnapshot& worker : situation.workers) {
    if (IsServing(worker)) cached = std::max(cached, worker.cached_tokens);
  }
  const uint32_t tokens = situation.wish.prompt_tokens;
  return {static_cast<double>(tokens - std::min(tokens, cached)), situation.wish.answer_tokens};
}

double ServiceSeconds(const Situation& situation, int worker, const PlacementEstimate& estimate) {
  const WorkerSnapshot& chosen = situation.workers[worker];
  if (chosen.decode_step_s <= 0) return 0;
  return estimate.first_token_s +
         situation.wish.answer_tokens *
             (chosen.decode_step_s + estimate.requests * chosen.decode_row_s);
}

double LeastServiceSeconds(const Situation& situation) {
  const std::vector<PlacementEstimate> estimates = EstimateAll(situation.workers, situation.wish);
  double least_s = 0;
  for (int i = 0; i < static_cast<int>(estimates.size()); ++i) {
    if (!IsServing(situation.workers[i])) continue;
    const double service_s = ServiceSeconds(situation, i, estimates[i]);
    if (service_s > 0 && (least_s == 0 || service_s < least_s)) least_s = service_s;
  }
  return least_s;
}

void CountAnswer(int tokens, double seconds, double expected_s, ServedShape& shape) {
  shape.answer_tokens += kAnswerSmoothing * (tokens - shape.answer_tokens);
  if (expected_s <= 0) return;
  const double factor = std::clamp(seconds / expected_s, kFactorMin, kFactorMax);
  shape.service_factor += kFactorSmoothing * (factor - shape.service_factor);
}

void CountLate(ServedShape& shape) {
  shape.service_factor = std::min(kFactorMax, shape.service_factor * kLateGrowth);
}

}  // namespace facet
