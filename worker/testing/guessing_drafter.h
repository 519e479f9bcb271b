#ifndef FACET_WORKER_TESTING_GUESSING_DRAFTER_H_
#define FACET_WORKER_TESTING_GUESSING_DRAFTER_H_

#include <cstdint>
#include <map>
#include <random>
#include <utility>
#include <vector>

#include "worker/drafter.h"

namespace facet::testing {

// A drafter that is often right, which a random one never is: runs the given drafter, for its reads
// of the cache, and then guesses from answers that it was told. Some guesses are wrong on purpose.
class GuessingDrafter final : public Drafter {
 public:
  // `drafter` must outlive it.
  GuessingDrafter(Drafter* drafter, uint32_t seed) : drafter_(*drafter), random_(seed) {}

  // `tokens`: prompt and answer of a lone run.
  void Tell(const std::vector<int32_t>& tokens) {
    for (size_t i = 0; i < tokens.size(); ++i) {
      known_[{static_cast<int32_t>(i), tokens[i]}].push_back(
          {tokens.begin() + i + 1, tokens.end()});
    }
  }

  std::vector<int32_t> DraftBlocking(absl::Span<const Row> rows, const float* states, int count,
                                     Trace* trace) override {
    std::vector<int32_t> drafts = drafter_.DraftBlocking(rows, states, count, trace);
    for (size_t r = 0; r < rows.size(); ++r) {
      const auto found = known_.find({rows[r].position, rows[r].newest});
      if (found == known_.end()) continue;
      const std::vector<int32_t>& next = found->second[random_() % found->second.size()];
      for (int i = 0; i < count && i < static_cast<int>(next.size()) && random_() % 5 != 0; ++i) {
        drafts[r * count + i] = next[i];
      }
    }
    return drafts;
  }

  const DrafterOptions& options() const override { return drafter_.options(); }

 private:
  Drafter& drafter_;
  std::mt19937 random_;
  // (position, token) -> what came after it in each lone run that has it there.
  std::map<std::pair<int32_t, int32_t>, std::vector<std::vector<int32_t>>> known_;
};

}  // namespace facet::testing

#endif  // FACET_WORKER_TESTING_GUESSING_DRAFTER_H_
