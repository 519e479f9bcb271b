#ifndef FACET_ROUTER_CLUSTER_RELAY_H_
#define FACET_ROUTER_CLUSTER_RELAY_H_

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "model/output_parser.h"
#include "proto/worker.pb.h"
#include "router/admission/tenant.h"
#include "router/admission/waiting_line.h"
#include "router/cluster/mailbox.h"
#include "router/cluster/worker_pool.h"
#include "router/text/output_text.h"
#include "router/text/prompt_builder.h"

namespace facet {

// What one answer gained since its reader last looked.
struct RelayDelta {
  OutputParser::Delta text;
  std::vector<int> tokens;  // The stop id itself is not among them, unless it is kept.
  std::vector<v1::TokenLogprobs> logprobs;  // One for each of `tokens`, if asked for.
  // In the first one, if asked for: one for each token of the prompt but the first.
  std::vector<v1::TokenLogprobs> prompt_logprobs;
  v1::FinishReason finish_reason = v1::FINISH_REASON_UNSPECIFIED;  // Set in the last one.
};

// One answer: places it, reads what its worker sends, and turns ids into text. Until a worker has
// room for it, it waits in the pool's line. A request that loses its worker goes on at another one
// from the ids that came, and its reader notices nothing: text, thinking and tool calls are
// functions of the ids, whose state stays here. It does not wait in the line again, behind those
// that have no token yet; while no worker is there it waits, for a bounded time. Belongs to one
// strand. Ends the stream at the worker when it is destroyed.
class Relay {
 public:
  struct Options {
    // Workers that a request may lose, one after the other, without a token in between; then it
    // goes on in quarantine, and may lose none there: it may be what kills them.
    int losses_max = 2;
    int refusals_max = 3;              // Workers that may refuse it before its first token.
    size_t waiting_tokens_max = 8192;  // That a slow client may leave unread.
    bool keep_stop_token = false;      // Among `tokens` of the last delta.
  };

  // `wake` is called from any thread when Take has something new. `pool` must outlive the relay.
  Relay(WorkerPool& pool, std::shared_ptr<const TenantRequest> tenant, BuiltChoice choice,
        OutputText text, std::function<void()> wake, RouterMetrics& metrics,
        const Options& options);
  ~Relay() { Cancel(); }
  Relay(const Relay&) = delete;
  Relay& operator=(const Relay&) = delete;

  // Gives it to a worker, or puts it in the line. UNAVAILABLE: not even that, as WaitingLine says.
  absl::Status Start();
  // What came since the last call, up to the end of the answer. An error means that the answer
  // ended without a finish reason; it is returned until the relay is destroyed.
  absl::Status Take(RelayDelta& delta);
  // Ends the stream at the worker, if it still runs.
  void Cancel();

  bool done() const { return done_; }
  // The answer lost its worker and no other was there: Take tries again each time it is called.
  bool waits_for_worker() const { return !done_ && !stream_.has_value() && ticket_ == nullptr; }
  // It was given to a worker, now or before.
  bool placed() const { return !worker_.empty(); }
  double queue_wait_s() const { return queue_wait_s_; }       // In the line.
  int generated_tokens() const { return generated_tokens_; }  // As usage counts: to the cut.
  int prompt_tokens() const { return request_.prompt_tokens_size(); }
  const v1::GenerateRequest& request() const { return request_; }
  // The worker that it was placed at last, and why there.
  const std::string& worker() const { return worker_; }
  const std::string& why() const { return why_; }
  int reasoning_tokens() const { return text_.reasoning_tokens(); }
  const std::string& stop_string() const { return text_.stop_string(); }
  int tool_call_count() const { return text_.tool_call_count(); }
  const v1::Ledger& ledger() const { return ledger_; }

 private:
  using Clock = std::chrono::steady_clock;

  absl::Status Place(bool is_new);
  absl::Status EnterLine();
  // In the line: goes to a worker if its turn has come.
  absl::Status TakeTurn();
  // Says to the next worker how much time is left; false if none is.
  bool SetTimeLeft();
  absl::Status TakeReply(v1::GenerateReply& reply, RelayDelta& delta);
  // The worker will send no more: goes on elsewhere, now or as soon as a worker is there.
  // `kind` is the metric's `reason`.
  absl::Status Lost(const absl::Status& reason, const char* kind, RelayDelta& delta);
  absl::Status GoOn(RelayDelta& delta);
  absl::Status Fail(const absl::Status& reason);
  void TakeToken(int id, v1::TokenLogprobs* logprobs, RelayDelta& delta);
  void End(v1::FinishReason reason, RelayDelta& delta);
  bool IsStop(int id) const;

  WorkerPool& pool_;
  const std::shared_ptr<const TenantRequest> tenant_;  // Shared with the request's other answers.
  v1::GenerateRequest request_;                        // resume_from grows with what came.
  const uint32_t deadline_ms_;                         // From `started_`; 0: none.
  const Clock::time_point started_ = Clock::now();
  const std::shared_ptr<const LoadedMedia> media_;  // Of request_.media, or null.
  SharedPageKeys keys_;                             // Of request_.
  OutputText text_;
  const std::function<void()> wake_;
  RouterMetrics& metrics_;
  const Options options_;

  std::unique_ptr<WaitingLine::Ticket> ticket_;  // While it is in the line.
  Clock::time_point entered_line_;
  double queue_wait_s_ = 0;
  std::shared_ptr<Mailbox> mailbox_;  // Shared with the worker client.
  std::optional<WorkerPool::Stream> stream_;
  Clock::time_point placed_at_;  // Of the stream.
  std::string worker_, why_;
  uint64_t numerics_class_ = 0;          // Of the worker that gave the last token.
  absl::flat_hash_set<uint64_t> tried_;  // Since the last token: workers, as address_digest.
  int losses_ = 0, refusals_ = 0;        // Since the last token.
  // Why, and since when it has had no token, while it has lost its worker.
  absl::Status lost_reason_;
  const char* lost_kind_ = "";
  std::optional<Clock::time_point> lost_at_;
  bool done_ = false;
  absl::Status error_;
  int generated_tokens_ = 0;
  v1::Ledger ledger_;
};

}  // namespace facet

#endif  // FACET_ROUTER_CLUSTER_RELAY_H_
