#ifndef FACET_WORKER_GRAMMAR_MASKS_H_
#define FACET_WORKER_GRAMMAR_MASKS_H_

#include <cstdint>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "model/grammar.h"

namespace facet {

// Computes the masks of a step on a thread of its own, while the step's tokens are computed. Begin
// and BlockingFinish are called in turn by one thread, the engine's.
class GrammarMasks {
 public:
  // One sequence's rows: the one after its newest token, and one after each draft.
  struct Job {
    GrammarMatcher* matcher;
    absl::Span<const int32_t> drafts;
    std::vector<uint32_t>* masks;  // resized to 1 + drafts masks
  };

  explicit GrammarMasks(int mask_words) : mask_words_(mask_words) {}
  ~GrammarMasks();
  GrammarMasks(const GrammarMasks&) = delete;
  GrammarMasks& operator=(const GrammarMasks&) = delete;

  // What the jobs point to is this object's until BlockingFinish returns.
  void Begin(std::vector<Job> jobs) ABSL_LOCKS_EXCLUDED(mutex_);
  void BlockingFinish() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Loop() ABSL_LOCKS_EXCLUDED(mutex_);
  void Fill(const Job& job) const;
  bool HasWork() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return stopping_ || !jobs_.empty(); }
  bool IsIdle() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return jobs_.empty(); }

  const int mask_words_;
  absl::Mutex mutex_;
  std::vector<Job> jobs_ ABSL_GUARDED_BY(mutex_);  // of the step that is under way
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;  // begun with the first jobs
};

}  // namespace facet

#endif  // FACET_WORKER_GRAMMAR_MASKS_H_
