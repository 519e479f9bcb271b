#include "worker/prefill_budget.h"

#include <algorithm>

#include "kernels/kv_layer.h"

namespace facet {
namespace {

constexpr double kPauseInSteps = 8;
// Shorter steps than this nobody notices.
constexpr double kPauseMinS = 0.05;

}  // namespace

int PrefillTokens(const StepTimes& times, int decodes, int tokens_max) {
  if (decodes == 0 || times.prompt_token_s <= 0) return tokens_max;
  const double pause_s = std::max(kPauseMinS, kPauseInSteps * times.decode_s);
  const double tokens = std::max(0.0, pause_s - times.decode_s) / times.prompt_token_s;
  return static_cast<int>(std::min<double>(std::max<double>(tokens, kPageTokens), tokens_max));
}

}  // namespace facet
