#include "worker/logit_adjustment.h"

#include <limits>
#include <map>
#include <random>
#include <set>
#include <vector>

#include "gtest/gtest.h"

namespace facet {
namespace {

// The same by maps and sets: from each id that is touched to its logit.
std::map<int32_t, float> Expected(const std::vector<float>& logits, const v1::Sampling& sampling,
                                  const std::vector<int32_t>& tokens, int prompt_count,
                                  const std::vector<int>& suppressed) {
  std::map<int32_t, float> adjusted;
  const auto at = [&](int32_t id) -> float& {
    return adjusted.emplace(id, logits[id]).first->second;
  };
  for (const auto& [id, bias] : sampling.logit_bias()) at(static_cast<int32_t>(id)) += bias;
  const float repetition = sampling.repetition_penalty();
  if (repetition != 0 && repetition != 1) {
    for (const int32_t id : std::set<int32_t>(tokens.begin(), tokens.end())) {
      at(id) = at(id) > 0 ? at(id) / repetition : at(id) * repetition;
    }
  }
  if (sampling.presence_penalty() != 0 || sampling.frequency_penalty() != 0) {
    std::map<int32_t, int> counts;
    for (size_t i = prompt_count; i < tokens.size(); ++i) ++counts[tokens[i]];
    for (const auto& [id, count] : counts) {
      at(id) -=
          sampling.presence_penalty() + static_cast<float>(count) * sampling.frequency_penalty();
    }
  }
  for (const int id : suppressed) at(id) = -std::numeric_limits<float>::infinity();
  return adjusted;
}

// Given all combinations of bias, penalties and suppression over random tokens (seed 1), expect
// each touched id once, by ascending id, with the logit that maps and sets give.
TEST(LogitAdjustmentTest, EqualsTheStraightforwardWay) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0, 3);
  for (int i = 0; i < 500; ++i) {
    const int size = 1 + static_cast<int>(random() % 700);
    std::vector<float> logits(size);
    for (float& logit : logits) logit = normal(random);
    std::vector<int32_t> tokens(random() % 300);
    for (int32_t& id : tokens) id = static_cast<int32_t>(random() % size);
    const int prompt_count = static_cast<int>(random() % (tokens.size() + 1));
    v1::Sampling sampling;
    if (random() % 2) sampling.set_repetition_penalty(random() % 2 ? 1.3f : 0.8f);
    if (random() % 2) sampling.set_presence_penalty(0.4f);
    if (random() % 2) sampling.set_frequency_penalty(-0.3f);
    if (random() % 2) (*sampling.mutable_logit_bias())[random() % size] = 2.5f;
    std::vector<int> suppressed;
    if (random() % 2) suppressed = {static_cast<int>(random() % size), size - 1, size - 1};
    const std::map<int32_t, float> expected =
        Expected(logits, sampling, tokens, prompt_count, suppressed);
    std::vector<std::pair<int32_t, float>> actual;
    for (const LogitOverride& change :
         AdjustLogits(logits, sampling, tokens, prompt_count, suppressed)) {
      actual.emplace_back(change.id, change.logit);
    }
    ASSERT_EQ(actual, (std::vector<std::pair<int32_t, float>>(expected.begin(), expected.end())))
        << "row " << i;
  }
}

}  // namespace
}  // namespace facet
