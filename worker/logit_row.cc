#include "worker/logit_row.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <limits>

#include "base/check.h"

namespace facet {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();
// A vector of the smallest width that all our processors have, by an extension of GCC and Clang:
// left to loops, the compiler finds vectors in some of them and at some levels of optimisation.
using Float4 = float __attribute__((vector_size(16)));
using Bits4 = uint32_t __attribute__((vector_size(16)));
constexpr int kWidth = 4;
// Sums and maxima run in four vectors, which keeps two units busy. The order of additions is thus
// fixed, and with it each bit.
constexpr int kVectors = 4;
static_assert(LogitRow::kBlock % (kVectors * kWidth) == 0, "a block is whole rounds of vectors");
static_assert(LogitRow::kBlock % 32 == 0, "a block is whole words of a mask");
constexpr int kMaskWords = LogitRow::kBlock / 32;

// In powers of two, as Weight counts. See the class.
constexpr float kNegligible = -72;
// Temperatures below 1.5e-30 are taken for that: a larger scale would make infinity out of it.
constexpr double kScaleMax = 1e30;

Float4 Load(const float* from) {
  Float4 vector;
  std::memcpy(&vector, from, sizeof(vector));
  return vector;
}

Float4 All(float value) { return Float4{value, value, value, value}; }

// 2^y for y in [kNegligible, 0], 0 for less and for NaN. 2^y = 2^n 2^f with n the nearest integer:
// adding kRound leaves n in the last bits of the float. 2^f is 1 + f P(f), exactly 1 at 0, where P
// was fitted to |f| <= 0.5 by minimising the largest relative error, 2e-8 with these coefficients.
inline Float4 PowerOfTwo(Float4 y) {
  constexpr float kRound = 0x1.8p23F;
  const Float4 rounded = y + kRound;
  const Float4 f = y - (rounded - kRound);
  Float4 p = f * 1.5353362e-4F + 1.3398875e-3F;
  p = p * f + 9.6184369e-3F;
  p = p * f + 5.5503324e-2F;
  p = p * f + 2.4022648e-1F;
  p = p * f + 6.9314718e-1F;
  p = p * f + 1.0F;
  // The bits above n are shifted out; 127 is the bias of a float's exponent.
  const Bits4 exponent = (reinterpret_cast<Bits4>(rounded) << 23) + (127U << 23);
  const auto power = reinterpret_cast<Bits4>(p * reinterpret_cast<Float4>(exponent));
  return reinterpret_cast<Float4>(power & reinterpret_cast<Bits4>(y >= kNegligible));
}

float MaximumOfBlock(const float* logits) {
  Float4 maxima[kVectors];
  std::fill(maxima, maxima + kVectors, All(kNever));
  for (const float* at = logits; at != logits + LogitRow::kBlock;) {
    for (Float4& maximum : maxima) {
      const Float4 some = Load(at);
      maximum = some > maximum ? some : maximum;  // not so for NaN
      at += kWidth;
    }
  }
  float maximum = kNever;
  for (const Float4& some : maxima) {
    for (int lane = 0; lane < kWidth; ++lane) maximum = std::max(maximum, some[lane]);
  }
  return maximum;
}

}  // namespace

Softmax::Softmax(float maximum, float temperature)
    : maximum_(maximum),
      scale_(static_cast<float>(std::min(kScaleMax, 1.4426950408889634 / temperature))) {}

float Softmax::Weight(float logit) const { return PowerOfTwo(All((logit - maximum_) * scale_))[0]; }

std::vector<float> Softmax::Weights(absl::Span<const Candidate> candidates) const {
  std::vector<float> weights(candidates.size());
  size_t i = 0;
  for (; i + kWidth <= candidates.size(); i += kWidth) {
    const Float4 logits = {candidates[i].logit, candidates[i + 1].logit, candidates[i + 2].logit,
                           candidates[i + 3].logit};
    const Float4 some = PowerOfTwo((logits - maximum_) * scale_);
    std::memcpy(&weights[i], &some, sizeof(some));
  }
  for (; i < candidates.size(); ++i) weights[i] = Weight(candidates[i].logit);
  return weights;
}

bool Softmax::Negligible(float logit) const {
  return !((logit - maximum_) * scale_ >= kNegligible);
}

double Softmax::SumOfBlock(const float* logits) const {
  Float4 sums[kVectors] = {};
  for (const float* at = logits; at != logits + LogitRow::kBlock;) {
    for (Float4& sum : sums) {
      sum += PowerOfTwo((Load(at) - maximum_) * scale_);
      at += kWidth;
    }
  }
  double sum = 0;
  for (const Float4& some : sums) {
    for (int lane = 0; lane < kWidth; ++lane) sum += some[lane];
  }
  return sum;
}

LogitRow::LogitRow(absl::Span<const float> logits, absl::Span<const LogitOverride> overrides,
                   absl::Span<const uint32_t> mask)
    : logits_(logits),
      overrides_(overrides),
      mask_(mask),
      block_maxima_((logits.size() + kBlock - 1) / kBlock),
      maximum_(kNever) {
  CHECK(mask.empty() || mask.size() >= (logits.size() + 31) / 32);
  const int blocks = static_cast<int>(block_maxima_.size());
  if (!overrides.empty()) {
    CHECK_LT(static_cast<size_t>(overrides.back().id), logits.size());
    first_override_.reserve(blocks + 1);
    size_t next = 0;
    for (int block = 0; block <= blocks; ++block) {
      while (next < overrides.size() && overrides[next].id < block * kBlock) ++next;
      first_override_.push_back(static_cast<int32_t>(next));
    }
  }
  float scratch[kBlock];
  for (int block = 0; block < blocks; ++block) {
    block_maxima_[block] = MaximumOfBlock(Block(block, scratch));
    maximum_ = std::max(maximum_, block_maxima_[block]);
  }
}

int32_t LogitRow::MostLikely() const {
  CHECK_GT(maximum_, kNever) << "no id may be chosen";
  const auto block = static_cast<int32_t>(
      std::find(block_maxima_.begin(), block_maxima_.end(), maximum_) - block_maxima_.begin());
  float scratch[kBlock];
  const float* logits = Block(block, scratch);
  return block * kBlock +
         static_cast<int32_t>(std::find(logits, logits + kBlock, maximum_) - logits);
}

std::vector<Candidate> LogitRow::Best(size_t count) const {
  // At least `count` logits are as large as the count-th largest of the blocks' maxima.
  float least = std::numeric_limits<float>::lowest();
  if (count <= block_maxima_.size()) {
    std::vector<float> maxima = block_maxima_;
    const auto last = maxima.begin() + static_cast<ptrdiff_t>(count) - 1;
    std::nth_element(maxima.begin(), last, maxima.end(), std::greater<>());
    least = std::max(least, *last);
  }
  std::vector<Candidate> best;
  best.reserve(count);
  float scratch[kBlock];
  for (size_t block = 0; block < block_maxima_.size(); ++block) {
    if (block_maxima_[block] < least) continue;
    const float* logits = Block(static_cast<int>(block), scratch);
    for (int i = 0; i < kBlock; ++i) {
      if (logits[i] >= least) {
        best.push_back({logits[i], static_cast<int32_t>(block) * kBlock + i});
      }
    }
  }
  if (best.size() > count) {
    std::vector<Candidate> order = best;
    const auto last = order.begin() + static_cast<ptrdiff_t>(count) - 1;
    std::nth_element(order.begin(), last, order.end());
    std::erase_if(best, [&](const Candidate& candidate) { return *last < candidate; });
  }
  return best;
}

double LogitRow::SumOfWeights(const Softmax& softmax) const {
  float scratch[kBlock];
  double sum = 0;
  for (size_t block = 0; block < block_maxima_.size(); ++block) {
    if (softmax.Negligible(block_maxima_[block])) continue;
    sum += softmax.SumOfBlock(Block(static_cast<int>(block), scratch));
  }
  return sum;
}

LogitRow::Allowed LogitRow::AllowedOf(int block) const {
  if (mask_.empty()) return Allowed::kAll;
  uint32_t all = ~0U, any = 0;
  for (const uint32_t word : mask_.subspan(int64_t{block} * kMaskWords, kMaskWords)) {
    all &= word;
    any |= word;
  }
  return any == 0 ? Allowed::kNone : all == ~0U ? Allowed::kAll : Allowed::kSome;
}

const float* LogitRow::Block(int block, float* scratch) const {
  static constexpr auto kNothing = [] {
    std::array<float, kBlock> nothing{};
    nothing.fill(kNever);
    return nothing;
  }();
  const int begin = block * kBlock;
  const int size = std::min(kBlock, static_cast<int>(logits_.size()) - begin);
  const Allowed allowed = AllowedOf(block);
  if (allowed == Allowed::kNone) return kNothing.data();
  absl::Span<const LogitOverride> overrides;
  if (!first_override_.empty()) {
    overrides = overrides_.subspan(first_override_[block],
                                   first_override_[block + 1] - first_override_[block]);
  }
  if (size == kBlock && overrides.empty() && allowed == Allowed::kAll) return &logits_[begin];
  std::copy_n(&logits_[begin], size, scratch);
  std::fill(scratch + size, scratch + kBlock, kNever);
  for (const LogitOverride& change : overrides) scratch[change.id - begin] = change.logit;
  if (allowed == Allowed::kSome) {
    for (int i = 0; i < size; ++i) {
      if ((mask_[(begin + i) / 32] >> (i % 32) & 1) == 0) scratch[i] = kNever;
    }
  }
  return scratch;
}

}  // namespace facet
