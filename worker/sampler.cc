#include "worker/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "worker/philox.h"

namespace facet {
namespace {

constexpr uint32_t kTopLogprobsMax = 20;
// How many candidates top-p looks at before it sorts the whole vocabulary: nearly always enough.
constexpr size_t kNucleusGuess = 256;
constexpr float kNever = -std::numeric_limits<float>::infinity();

struct Candidate {
  float logit;
  int32_t id;
};

// The order of candidates: likelier first, then the lower id.
bool Before(const Candidate& a, const Candidate& b) {
  return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

// The best `count` of all logits, in order. A heap of the best so far: most logits are refused by
// one comparison.
std::vector<Candidate> Best(absl::Span<const float> logits, size_t count) {
  std::vector<Candidate> heap;
  heap.reserve(count);
  for (size_t i = 0; i < logits.size(); ++i) {
    const Candidate candidate = {logits[i], static_cast<int32_t>(i)};
    if (heap.size() < count) {
      heap.push_back(candidate);
      std::push_heap(heap.begin(), heap.end(), Before);
    } else if (candidate.logit > heap.front().logit) {
      std::pop_heap(heap.begin(), heap.end(), Before);
      heap.back() = candidate;
      std::push_heap(heap.begin(), heap.end(), Before);
    }
  }
  std::sort_heap(heap.begin(), heap.end(), Before);
  return heap;
}

double SumOfExponentials(absl::Span<const float> logits, float maximum, double temperature) {
  double sum = 0;
  for (const float logit : logits) sum += std::exp((double{logit} - maximum) / temperature);
  return sum;
}

bool InRange(double value, double low, double high) { return value >= low && value <= high; }

absl::Status OutOfRange(absl::string_view field, double value, absl::string_view range) {
  return absl::InvalidArgumentError(absl::StrCat(field, " is ", value, ", not in ", range));
}

// Suppression, bias and penalties: the logits that the draw is made from.
std::vector<float> Adjust(absl::Span<const float> logits, const v1::Sampling& sampling,
                          const SamplerContext& context, absl::Span<const int> suppressed) {
  std::vector<float> adjusted(logits.begin(), logits.end());
  for (const auto& [id, bias] : sampling.logit_bias()) adjusted[id] += bias;
  const float repetition = sampling.repetition_penalty();
  if (repetition != 0 && repetition != 1) {
    std::vector<int32_t> seen(context.tokens.begin(), context.tokens.end());
    std::sort(seen.begin(), seen.end());
    seen.erase(std::unique(seen.begin(), seen.end()), seen.end());
    for (const int32_t id : seen) {
      adjusted[id] = adjusted[id] > 0 ? adjusted[id] / repetition : adjusted[id] * repetition;
    }
  }
  if (sampling.presence_penalty() != 0 || sampling.frequency_penalty() != 0) {
    std::map<int32_t, int> counts;
    for (const int32_t id : context.tokens.subspan(context.prompt_count)) ++counts[id];
    for (const auto& [id, count] : counts) {
      adjusted[id] -=
          sampling.presence_penalty() + static_cast<float>(count) * sampling.frequency_penalty();
    }
  }
  for (const int id : suppressed) adjusted[id] = kNever;
  return adjusted;
}

int32_t MostLikely(absl::Span<const float> logits) {
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

// Candidates in order, cut by top-k, then top-p, then min-p.
std::vector<Candidate> Cut(absl::Span<const float> logits, const v1::Sampling& sampling) {
  const double temperature = sampling.temperature();
  const double top_p = sampling.top_p() == 0 ? 1.0 : double{sampling.top_p()};
  const size_t top_k =
      sampling.top_k() == 0 ? logits.size() : std::min<size_t>(sampling.top_k(), logits.size());
  size_t guess = top_p < 1 || sampling.min_p() > 0 ? std::min(top_k, kNucleusGuess) : top_k;
  std::vector<Candidate> candidates = Best(logits, guess);
  const float maximum = candidates[0].logit;
  const auto weight = [&](const Candidate& candidate) {
    return std::exp((double{candidate.logit} - maximum) / temperature);
  };
  // Top-p counts shares of what top-k left.
  double total = 0;
  if (top_k < logits.size()) {
    if (guess < top_k) candidates = Best(logits, guess = top_k);
    for (const Candidate& candidate : candidates) total += weight(candidate);
  } else {
    total = SumOfExponentials(logits, maximum, temperature);
  }
  double mass = 0;
  for (size_t kept = 0;; ++kept) {
    if (kept == candidates.size()) {
      if (candidates.size() == top_k) return candidates;
      candidates = Best(logits, top_k);
    }
    const double share = weight(candidates[kept]);
    const bool enough = kept > 0 && (mass >= top_p * total || share < sampling.min_p());
    if (enough || candidates[kept].logit == kNever) {
      candidates.resize(kept);
      return candidates;
    }
    mass += share;
  }
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

int32_t Sample(absl::Span<const float> logits, const v1::Sampling& sampling,
               const SamplerContext& context, absl::Span<const int> suppressed) {
  const std::vector<float> adjusted = Adjust(logits, sampling, context, suppressed);
  if (sampling.temperature() == 0) return MostLikely(adjusted);
  const std::vector<Candidate> candidates = Cut(adjusted, sampling);
  CHECK(!candidates.empty());
  const double temperature = sampling.temperature();
  std::vector<double> cumulative;
  double total = 0;
  for (const Candidate& candidate : candidates) {
    total += std::exp((double{candidate.logit} - candidates[0].logit) / temperature);
    cumulative.push_back(total);
  }
  const double draw =
      total * PhiloxUniform(sampling.seed(), sampling.sample_index(), context.tokens.size());
  const size_t chosen =
      std::upper_bound(cumulative.begin(), cumulative.end(), draw) - cumulative.begin();
  return candidates[std::min(chosen, candidates.size() - 1)].id;
}

float Logprob(absl::Span<const float> logits, int32_t id) {
  const float maximum = *std::max_element(logits.begin(), logits.end());
  const double log_sum = std::log(SumOfExponentials(logits, maximum, 1.0));
  return static_cast<float>(double{logits[id]} - maximum - log_sum);
}

std::vector<TokenLogprob> TopLogprobs(absl::Span<const float> logits, int count) {
  std::vector<TokenLogprob> top;
  if (count == 0) return top;
  const float maximum = *std::max_element(logits.begin(), logits.end());
  const double log_sum = std::log(SumOfExponentials(logits, maximum, 1.0));
  for (const Candidate& candidate : Best(logits, std::min<size_t>(count, logits.size()))) {
    top.push_back({candidate.id, static_cast<float>(double{candidate.logit} - maximum - log_sum)});
  }
  return top;
}

}  // namespace facet
