#include "worker/sampler.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <iterator>
#include <limits>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "worker/logit_adjustment.h"
#include "worker/philox.h"

namespace facet {
namespace {

// How many candidates are looked at before the whole vocabulary is: nearly always enough.
constexpr size_t kGuess = 256;
// More candidates than this are narrowed down by buckets first.
constexpr size_t kSortMax = 1024;
constexpr int kBuckets = 256;
constexpr double kUnbounded = std::numeric_limits<double>::infinity();

// Where a walk over candidates ended.
struct Stop {
  int32_t id;    // of the candidate whose weight brought the sum up to the goal, else of the last
  double mass;   // the sum of the weights up to and with this one
  bool reached;  // the goal
};

// Those of `candidates` among which the sum, begun at `mass`, reaches `goal`; adds the weights of
// likelier ones to `mass`. If it is never reached, some of the least likely.
// REQUIRES: not all logits are equal, so that some are left out.
std::vector<Candidate> Narrow(absl::Span<const Candidate> candidates, const Softmax& softmax,
                              double goal, double& mass) {
  const auto [low, high] =
      std::minmax_element(candidates.begin(), candidates.end(),
                          [](const auto& a, const auto& b) { return a.logit < b.logit; });
  // Likelier candidates have lower buckets, by arithmetic that never turns the order around. In
  // double precision, for the quotient of the closest floats is finite there.
  const double top = high->logit;
  const double buckets_per_unit = (kBuckets - 1) / (top - low->logit);
  const auto bucket_of = [&](const Candidate& candidate) {
    return static_cast<int>((top - candidate.logit) * buckets_per_unit);
  };
  std::array<double, kBuckets> masses = {};
  const std::vector<float> weights = softmax.Weights(candidates);
  for (size_t i = 0; i < candidates.size(); ++i) masses[bucket_of(candidates[i])] += weights[i];
  const int last = bucket_of(*low);
  int reaching = 0;
  while (reaching < last && mass + masses[reaching] < goal) mass += masses[reaching++];
  std::vector<Candidate> kept;
  std::copy_if(candidates.begin(), candidates.end(), std::back_inserter(kept),
               [&](const Candidate& candidate) { return bucket_of(candidate) == reaching; });
  return kept;
}

bool AllTied(absl::Span<const Candidate> candidates) {
  return std::all_of(candidates.begin(), candidates.end(),
                     [&](const Candidate& c) { return c.logit == candidates[0].logit; });
}

// Walks `candidates`, which come by ascending id, in their order until the sum of their weights
// reaches `goal`. REQUIRES: `candidates` is not empty.
Stop Walk(absl::Span<const Candidate> candidates, const Softmax& softmax, double goal) {
  double mass = 0;
  std::vector<Candidate> kept;
  while (candidates.size() > kSortMax && !AllTied(candidates)) {
    kept = Narrow(candidates, softmax, goal, mass);
    candidates = kept;
  }
  std::vector<Candidate> sorted(candidates.begin(), candidates.end());
  if (sorted.size() <= kSortMax) std::sort(sorted.begin(), sorted.end());
  const std::vector<float> weights = softmax.Weights(sorted);
  for (size_t i = 0; i < sorted.size(); ++i) {
    mass += weights[i];
    if (mass >= goal) return {sorted[i].id, mass, true};
  }
  return {sorted.back().id, mass, false};
}

// The likeliest candidates.
struct Pool {
  std::vector<Candidate> candidates;  // by ascending id
  bool complete;                      // None that a draw could choose is missing.
};

Pool BestPool(const LogitRow& row, const Softmax& softmax, size_t count) {
  Pool pool = {row.Best(count), count == row.size()};
  std::erase_if(pool.candidates, [&](const Candidate& c) { return softmax.Negligible(c.logit); });
  // What follows the best is no likelier than they.
  pool.complete |= pool.candidates.size() < count;
  return pool;
}

// Cuts by top-k, top-p and min-p, then takes the candidate at the share `uniform` of what is left.
int32_t Draw(const LogitRow& row, const v1::Sampling& sampling, double uniform) {
  const Softmax softmax(row.maximum(), sampling.temperature());
  const bool cut_by_count = sampling.top_k() > 0 && sampling.top_k() < row.size();
  const bool cut_by_share = sampling.top_p() > 0 && sampling.top_p() < 1;
  const bool cut_by_weight = sampling.min_p() > 0;
  Pool pool = BestPool(row, softmax, cut_by_count ? sampling.top_k() : kGuess);
  pool.complete |= cut_by_count;
  double total = kUnbounded;
  if (pool.complete) {
    total = Walk(pool.candidates, softmax, kUnbounded).mass;
  } else if (cut_by_share || !cut_by_weight) {
    total = row.SumOfWeights(softmax);
  }
  for (;; pool = BestPool(row, softmax, row.size())) {
    double mass = total;  // of what the cuts leave
    // Whether that is known: the cuts fell into the pool, or there are none.
    bool inside = pool.complete || !(cut_by_share || cut_by_weight);
    if (cut_by_share) {
      const Stop stop = Walk(pool.candidates, softmax, total * sampling.top_p());
      if (stop.reached) mass = stop.mass;
      inside |= stop.reached;
    }
    if (cut_by_weight) {
      inside |= std::erase_if(pool.candidates, [&](const Candidate& candidate) {
                  return softmax.Weight(candidate.logit) < sampling.min_p();
                }) > 0;
      mass = std::min(mass, Walk(pool.candidates, softmax, kUnbounded).mass);
    }
    if (!inside) continue;
    const Stop stop = Walk(pool.candidates, softmax, uniform * mass);
    if (stop.reached || pool.complete) return stop.id;
  }
}

bool InRange(double value, double low, double high) { return value >= low && value <= high; }

absl::Status OutOfRange(absl::string_view field, double value, absl::string_view range) {
  return absl::InvalidArgumentError(absl::StrCat(field, " is ", value, ", not in ", range));
}

}  // namespace

absl::Status ValidateSampling(const v1::Sampling& sampling, int vocab_size) {
  if (!InRange(sampling.temperature(), 0, 2)) {
    return OutOfRange("temperature", sampling.temperature(), "[0, 2]");
  }
  if (!InRange(sampling.top_p(), 0, 1)) return OutOfRange("top_p", sampling.top_p(), "(0, 1]");
  if (!InRange(sampling.min_p(), 0, 1)) return OutOfRange("min_p", sampling.min_p(), "[0, 1]");
  if (!InRange(sampling.presence_penalty(), -2, 2)) {
    return OutOfRange("presence_penalty", sampling.presence_penalty(), "[-2, 2]");
  }
  if (!InRange(sampling.frequency_penalty(), -2, 2)) {
    return OutOfRange("frequency_penalty", sampling.frequency_penalty(), "[-2, 2]");
  }
  if (!InRange(sampling.repetition_penalty(), 0, 10)) {
    return OutOfRange("repetition_penalty", sampling.repetition_penalty(), "(0, 10]");
  }
  if (sampling.top_logprobs() > kTopLogprobsMax) {
    return OutOfRange("top_logprobs", sampling.top_logprobs(), "[0, 20]");
  }
  for (const auto& [id, bias] : sampling.logit_bias()) {
    if (id >= static_cast<uint32_t>(vocab_size)) {
      return absl::InvalidArgumentError(
          absl::StrCat("logit_bias names id ", id, ", the vocabulary has ", vocab_size));
    }
    if (!InRange(bias, -100, 100)) return OutOfRange("logit_bias", bias, "[-100, 100]");
  }
  return absl::OkStatus();
}

absl::StatusOr<int32_t> Sample(absl::Span<const float> logits, const v1::Sampling& sampling,
                               const SamplerContext& context, absl::Span<const int> suppressed,
                               absl::Span<const uint32_t> mask) {
  const std::vector<LogitOverride> adjusted =
      AdjustLogits(logits, sampling, context.tokens, context.prompt_count, suppressed);
  const LogitRow row(logits, adjusted, mask);
  if (row.maximum() == -std::numeric_limits<float>::infinity()) {
    return absl::InternalError(
        "no id may be chosen: all are suppressed, masked, -infinity or not a number");
  }
  // An infinite logit is chosen for certain: it has no weight to compare.
  if (sampling.temperature() == 0 || std::isinf(row.maximum())) return row.MostLikely();
  return Draw(row, sampling,
              PhiloxUniform(sampling.seed(), sampling.sample_index(), context.tokens.size()));
}

int LikeliestNeeded(const v1::Sampling& sampling, int suppressed_count, int vocab_size) {
  const bool moved = sampling.logit_bias_size() > 0 || sampling.presence_penalty() != 0 ||
                     sampling.frequency_penalty() != 0 ||
                     (sampling.repetition_penalty() != 0 && sampling.repetition_penalty() != 1);
  const bool unbounded = sampling.temperature() != 0 && sampling.top_k() == 0;
  if (moved || unbounded || sampling.want_logprobs()) return 0;
  const int64_t chosen_from = sampling.temperature() == 0 ? 1 : sampling.top_k();
  const int64_t needed = chosen_from + suppressed_count;
  return needed < vocab_size ? static_cast<int>(needed) : 0;
}

Logprobs::Logprobs(absl::Span<const float> logits)
    : logits_(logits),
      row_(logits),
      log_sum_(std::log(row_.SumOfWeights(Softmax(row_.maximum(), /*temperature=*/1)))) {}

float Logprobs::Of(int32_t id) const {
  return static_cast<float>(double{logits_[id]} - row_.maximum() - log_sum_);
}

std::vector<TokenLogprob> Logprobs::Top(int count) const {
  std::vector<TokenLogprob> top;
  if (count == 0) return top;
  std::vector<Candidate> best = row_.Best(count);
  std::sort(best.begin(), best.end());
  for (const Candidate& candidate : best) top.push_back({candidate.id, Of(candidate.id)});
  return top;
}

}  // namespace facet
