#ifndef FACET_WORKER_GRAMMAR_QUEUE_H_
#define FACET_WORKER_GRAMMAR_QUEUE_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "model/grammar.h"

namespace facet {

// The grammar of one request, from its arrival on: first it waits to be compiled, then it is done.
class PendingGrammar {
 public:
  bool done() const ABSL_LOCKS_EXCLUDED(mutex_);
  // REQUIRES: done(). The first call takes the matcher, which has accepted what the request resumes
  // from. INVALID_ARGUMENT says why there is none.
  absl::StatusOr<std::unique_ptr<GrammarMatcher>> Take() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  friend class GrammarQueue;
  std::string ebnf_;
  std::vector<int32_t> stop_ids_, resume_from_;
  mutable absl::Mutex mutex_;
  bool done_ ABSL_GUARDED_BY(mutex_) = false;
  absl::StatusOr<std::unique_ptr<GrammarMatcher>> matcher_ ABSL_GUARDED_BY(mutex_);
};

// Compiles requests' grammars on a thread of its own, one after the other. Its length is bounded by
// the requests that the engine lets wait.
class GrammarQueue {
 public:
  // `compiler` must outlive it. `on_done` hears of each that is done, on that thread: only enqueue.
  GrammarQueue(GrammarCompiler* compiler, std::function<void()> on_done);
  ~GrammarQueue();
  GrammarQueue(const GrammarQueue&) = delete;
  GrammarQueue& operator=(const GrammarQueue&) = delete;

  // By any thread. One that its owner has let go of meanwhile is not compiled.
  std::shared_ptr<PendingGrammar> Add(std::string ebnf, std::vector<int32_t> stop_ids,
                                      std::vector<int32_t> resume_from) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Loop() ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<std::unique_ptr<GrammarMatcher>> Compile(const PendingGrammar& pending);
  bool HasWork() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return stopping_ || !waiting_.empty(); }

  GrammarCompiler& compiler_;
  const std::function<void()> on_done_;
  absl::Mutex mutex_;
  std::deque<std::shared_ptr<PendingGrammar>> waiting_ ABSL_GUARDED_BY(mutex_);  // shared with Add
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;  // begun with the first grammar
};

}  // namespace facet

#endif  // FACET_WORKER_GRAMMAR_QUEUE_H_
