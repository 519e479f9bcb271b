#include "worker/prefill_budget.h"

#include <algorithm>

#include "kernels/kv_layer.h"

namespace facet {
namespace {

constexpr double kPauseInSteps = 8;
// Shorter steps than this nobody notices.
constexpr double kPauseMinS = 0.05;
constexpr double kSmoothing = 0.3;  // weight of the newest measurement

void Average(double measured, double& average) {
  average += (average == 0 ? 1 : kSmoothing) * (measured - average);
}

}  // namespace

void PrefillBudget::Add(int rows, int prompt_rows, double seconds) {
  if (prompt_rows == 0) {
    Average(seconds, decode_s_);
  } else if (prompt_rows >= kPageTokens) {
    // A few rows beside the decodes' cost next to nothing, which says nothing of many.
    const double others_s = rows > prompt_rows ? decode_s_ : 0;
    Average(std::max(0.0, seconds - others_s) / prompt_rows, prompt_token_s_);
  }
}

int PrefillBudget::Tokens(int decodes, int tokens_max) const {
  if (decodes == 0 || prompt_token_s_ <= 0) return tokens_max;
  const double pause_s = std::max(kPauseMinS, kPauseInSteps * decode_s_);
  const double tokens = std::max(0.0, pause_s - decode_s_) / prompt_token_s_;
  return static_cast<int>(std::min<double>(std::max<double>(tokens, kPageTokens), tokens_max));
}

}  // namespace facet
