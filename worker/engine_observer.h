#ifndef FACET_WORKER_ENGINE_OBSERVER_H_
#define FACET_WORKER_ENGINE_OBSERVER_H_

#include "absl/time/time.h"
#include "proto/worker.pb.h"

namespace facet {

// Hears what an engine does, to count it. Called on the engine's thread, some hundred times a
// second and more: nothing may wait there.
class EngineObserver {
 public:
  // What a step gave to one request.
  struct Tokens {
    int tokens = 0;
    int drafts_proposed = 0;   // and verified in that step
    int drafts_accepted = 0;   // of these
    absl::Duration took = {};  // since its tokens before, or since its arrival if `first`
    bool first = false;        // these are its first tokens
    int prompt_tokens = 0;     // with its first tokens: of its prompt
    int cached_tokens = 0;     // with its first tokens: of these, not computed
  };

  virtual ~EngineObserver() = default;
  virtual void OnTokens(const Tokens& tokens) = 0;
  // A request gave its pages back, to go on later.
  virtual void OnPreemption() = 0;
  virtual void OnEnd(v1::FinishReason reason, const v1::Ledger& ledger) = 0;
  // After each step.
  virtual void OnLoad(const v1::Load& load) = 0;
};

}  // namespace facet

#endif  // FACET_WORKER_ENGINE_OBSERVER_H_
