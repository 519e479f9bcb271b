#ifndef FACET_WORKER_ENGINE_H_
#define FACET_WORKER_ENGINE_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "model/grammar.h"
#include "proto/page_key.h"
#include "proto/worker.pb.h"
#include "worker/adapter_registry.h"
#include "worker/batch.h"
#include "worker/draft_policy.h"
#include "worker/drafter.h"
#include "worker/engine_observer.h"
#include "worker/grammar_masks.h"
#include "worker/grammar_queue.h"
#include "worker/kv_cache.h"
#include "worker/media_item.h"
#include "worker/model_runner.h"
#include "worker/prefill_budget.h"
#include "worker/scheduler.h"
#include "worker/tiered_cache.h"

namespace facet {

// Where an engine's results go: one router's session, or one call.
class StepSink {
 public:
  struct Output {
    uint64_t stream_id;
    v1::GenerateReply reply;
    std::vector<uint32_t> need_media = {};  // not empty: this is what it is, and not a reply
  };
  virtual ~StepSink() = default;
  // All that one step gave to this sink's requests. Called on the engine's thread: only enqueue.
  virtual void OnStep(std::vector<Output> outputs) = 0;
};

struct EngineOptions {
  int running_requests_max = 64;   // requests that hold pages at once
  int waiting_requests_max = 256;  // requests that wait for pages; one more is refused
  int step_tokens_max = 512;       // rows of one step
  int vocab_size = 0;
  int context_tokens_max = 0;  // prompt and answer of one request together
  int sliding_window_tokens = 0;
  std::vector<int> suppressed_ids;  // never generated
  MediaLimits media;                // what may stand in a prompt beside text
  std::function<absl::Time()> clock = absl::Now;
  // How long the end may take to write to disk what is pending.
  absl::Duration disk_flush_timeout = absl::Seconds(10);
  // Hears the load after each step that changed it. On the engine's thread: only enqueue.
  std::function<void(const v1::Load&)> on_load;
};

// What an engine works with. All must outlive it.
struct EngineParts {
  ModelRunner* runner = nullptr;
  KvCache* cache = nullptr;
  Drafter* drafter = nullptr;                   // null: each step gives one token
  HostTier* host_tier = nullptr;                // null: pages that leave the device are gone
  DiskTier* disk_tier = nullptr;                // null, or behind a host tier
  GrammarCompiler* grammar_compiler = nullptr;  // null: requests with grammars are refused
  AdapterRegistry* adapters = nullptr;          // null: requests with adapters are refused
  PeerSource* peers = nullptr;                  // null, or behind a host tier
  std::vector<EngineObserver*> observers = {};
};

// Runs requests by continuous batching: one thread takes what came in, plans a step, computes it,
// samples, and hands the tokens out. Submit, Cancel, CancelAll and Drain may be called by any
// thread; they only enqueue.
//
// Every request ends with exactly one reply that has a finish_reason: stop, length, cancelled,
// deadline or error; and each of them gives its pages back. Tokens do not depend on what else runs.
class Engine {
 public:
  // The engine's thread owns the parts from Start on.
  Engine(const EngineOptions& options, const EngineParts& parts);
  // Ends what still runs as cancelled, stops the thread, and writes pending pages to disk.
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  void Start();

  // Takes what came in and does one step, without waiting: for those who own the loop, as tests and
  // simulators under a virtual clock do. REQUIRES: Start was not called; one thread calls it.
  void RunOneStep();

  // Takes a request whose tokens go to `sink` under `stream_id`, unique for that sink.
  // INVALID_ARGUMENT names the field; RESOURCE_EXHAUSTED: too many wait; UNAVAILABLE: draining.
  // The engine holds `sink` until the request has ended.
  absl::Status Submit(const v1::GenerateRequest& request, std::shared_ptr<StepSink> sink,
                      uint64_t stream_id) ABSL_LOCKS_EXCLUDED(mutex_);
  // The data of an item that a need_media named, or why there are none, which ends the request.
  // Unknown ids are ignored. REQUIRES: data are as CheckMediaData wants them.
  void AddMedia(std::shared_ptr<const StepSink> sink, uint64_t stream_id, int index,
                absl::StatusOr<std::string> data) ABSL_LOCKS_EXCLUDED(mutex_);
  // Unknown ids are ignored: the request may just have ended. The engine holds `sink` until it has
  // seen to it, so that no new sink at the same address is taken for it.
  void Cancel(std::shared_ptr<const StepSink> sink, uint64_t stream_id) ABSL_LOCKS_EXCLUDED(mutex_);
  void CancelAll(std::shared_ptr<const StepSink> sink) ABSL_LOCKS_EXCLUDED(mutex_);
  // Hands copies of cached pages, in order, to `done`; an empty one is neither on the device nor in
  // host memory nor on disk. Called once, on the engine's thread or at its end: only enqueue.
  using PagesDone = std::function<void(std::vector<std::string> contents)>;
  void ReadPages(std::vector<PoolKey> pages, PagesDone done) ABSL_LOCKS_EXCLUDED(mutex_);
  // Refuses new requests from now on; those taken go on.
  void Drain() ABSL_LOCKS_EXCLUDED(mutex_);
  // True when nothing runs or waits within `timeout`.
  bool BlockingWaitIdle(absl::Duration timeout) ABSL_LOCKS_EXCLUDED(mutex_);

  const EngineOptions& options() const { return options_; }

 private:
  struct Sequence;
  struct Cancellation {
    std::shared_ptr<const StepSink> sink;  // shared with whoever asked
    uint64_t stream_id;
    bool all;
  };

  struct MediaArrival {
    std::shared_ptr<const StepSink> sink;  // shared with whoever brought it
    uint64_t stream_id;
    int index;
    absl::StatusOr<std::string> data;
  };

  // Pages that another worker asks for.
  struct PageQuery {
    std::vector<PoolKey> pages;
    PagesDone done;
    bool fetching = false;  // what of them is on disk
    uint64_t ticket = 0;    // of that
    std::vector<std::string> contents = {};
  };

  absl::Status Validate(const v1::GenerateRequest& request) const;
  // The adapter that a request names; null if it names none.
  absl::StatusOr<std::shared_ptr<const Adapter>> AdapterOf(
      const v1::GenerateRequest& request) const;

  // Wakes the engine's thread: what it waits for may be there. By any thread.
  void OnHelperDone() ABSL_LOCKS_EXCLUDED(mutex_);

  // --- The engine's thread. ---
  void Loop();
  // Waits while there is nothing to do. False: stop.
  bool WaitForWork() ABSL_LOCKS_EXCLUDED(mutex_);
  void TakeInbox() ABSL_LOCKS_EXCLUDED(mutex_);
  bool HasWork() const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  void EndCancelledAndLate();
  void SortWaiting();
  void Step();
  // Gives the matchers that are compiled to those that wait for them, and ends the requests whose
  // grammars are wrong.
  void TakeGrammars();
  // Begins to fetch what those that wait have on disk or at another worker; they are deferred until
  // it is there.
  void FetchFar();
  // Copies pages for other workers, up to a bound for each step.
  void ServePages();
  void TakeMedia(MediaArrival arrival);
  // Asks for the data of its pictures and sounds that a cached prefix of `cached_len` tokens does
  // not cover; false if it lacks none.
  bool AskForMedia(Sequence& sequence, int cached_len);
  SchedulerSnapshot Snapshot();
  SchedulerLimits Limits() const;
  // Learns from a step how long they take.
  void AddStepTime(int rows, int prompt_rows, absl::Duration took);
  // The chain of keys that a cached prefix of this sequence is looked up by: one key less than
  // would leave no token to compute.
  static absl::Span<const PageKey> PrefixKeys(const Sequence& sequence);
  void HoldCachedPrefix(Sequence& sequence);
  void FillCachedPrefix(Sequence& sequence);
  void PublishPages(Sequence& sequence);
  void Preempt(const StepPlan& plan, const std::vector<Sequence*>& order);
  void Admit(const StepPlan& plan, const std::vector<Sequence*>& order);
  void Compute(const StepPlan& plan, const std::vector<Sequence*>& order);
  // Appends a sequence's next `tokens`, drafts included; gives back how many of them are output
  // rows.
  int AddToBatch(Sequence& sequence, int tokens, Batch& batch);
  // How many of the likeliest ids are looked at in this step's output rows; 0: all.
  int BestCount(const Sequence& sequence) const;
  void TakePages(Sequence& sequence, int tokens);
  void FreePages(Sequence& sequence);
  void FreePagesBelowWindow(Sequence& sequence);
  // Tells of a step's tokens. `drafts` were verified with them.
  void TellTokens(Sequence& sequence, int tokens, int drafts);
  // Chooses tokens from `rows` rows of logits: the one after the newest token, then one after each
  // draft, as long as the drafts are what was chosen. Gives back how many.
  int Accept(Sequence& sequence, absl::Span<const float> logits, int rows);
  // Says how likely the next tokens of its prompt were, from one row of logits for each.
  void Score(Sequence& sequence, absl::Span<const float> logits);
  // Chooses one that `mask` allows; gives back why it is the last, if it is. ERROR: none was
  // chosen.
  v1::FinishReason AppendToken(Sequence& sequence, absl::Span<const float> logits,
                               absl::Span<uint32_t> mask);
  // The id for AppendToken. Clears bits of `mask`.
  absl::StatusOr<int32_t> Choose(Sequence& sequence, absl::Span<const float> logits,
                                 absl::Span<uint32_t> mask);
  int TokensLeft(const Sequence& sequence) const;
  // Guesses the next tokens of sequences that just got one, from the output row it came from.
  void Draft(absl::Span<Sequence* const> sequences, absl::Span<const int> state_rows,
             int prefill_rows);
  void Finish(Sequence& sequence, v1::FinishReason reason);
  void RemoveEnded();
  void Deliver();
  uint64_t PrefillTokensWaiting() const;
  void PublishLoad();

  const EngineOptions options_;
  ModelRunner& runner_;
  KvCache& cache_;
  Drafter* const drafter_;  // or null
  TieredCache tiers_;
  AdapterRegistry* const adapters_;  // or null
  const std::vector<EngineObserver*> observers_;
  const int mask_words_;
  GrammarMasks grammar_masks_;
  std::unique_ptr<GrammarQueue> grammars_;  // null: requests with grammars are refused
  std::thread thread_;

  absl::Mutex mutex_;
  std::vector<std::unique_ptr<Sequence>> arrivals_ ABSL_GUARDED_BY(mutex_);
  std::vector<Cancellation> cancellations_ ABSL_GUARDED_BY(mutex_);
  std::vector<MediaArrival> media_arrivals_ ABSL_GUARDED_BY(mutex_);
  std::vector<PageQuery> page_queries_ ABSL_GUARDED_BY(mutex_);
  int unfinished_ ABSL_GUARDED_BY(mutex_) = 0;     // taken and not yet ended
  int waiting_count_ ABSL_GUARDED_BY(mutex_) = 0;  // arrivals_ and waiting_
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  // Pages came or were written, or there is more to copy or hand over; or a grammar is compiled.
  bool helpers_have_work_ ABSL_GUARDED_BY(mutex_) = false;

  // The engine's thread alone.
  std::deque<std::unique_ptr<Sequence>> running_;  // by priority, then admission
  std::deque<std::unique_ptr<Sequence>> waiting_;  // as Precedes says, at each step's beginning
  std::vector<Cancellation> taken_cancellations_;  // of this step
  std::deque<PageQuery> serving_;                  // in order of arrival
  absl::Duration computed_for_;                    // by the last step
  std::vector<Sequence*> touched_;                 // those with output of this step
  std::vector<Sequence*> asking_;                  // those whose media are asked for in this step
  absl::Time step_begin_;
  double tokens_per_s_ = 0;  // a moving average over steps
  StepCosts step_costs_, draft_costs_;
  PrefillBudget prefill_budget_;
  bool announced_drain_ = false;
  bool stalled_ = false;  // the last step had nothing to run: all that wait do so for pages
};

}  // namespace facet

#endif  // FACET_WORKER_ENGINE_H_
