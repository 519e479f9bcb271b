#ifndef FACET_ROUTER_RELAY_H_
#define FACET_ROUTER_RELAY_H_

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "model/output_parser.h"
#include "proto/worker.pb.h"
#include "router/mailbox.h"
#include "router/output_text.h"
#include "router/prompt_builder.h"
#include "router/worker_pool.h"

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

// One answer: places it, reads what its worker sends, and turns ids into text. A request that loses
// its worker before the first token is placed again. Belongs to one strand. Ends the stream at the
// worker when it is destroyed.
class Relay {
 public:
  struct Options {
    int tries_max = 3;
    size_t waiting_tokens_max = 8192;  // That a slow client may leave unread.
    bool keep_stop_token = false;      // Among `tokens` of the last delta.
  };

  // `wake` is called from any thread when Take has something new. `pool` must outlive the relay.
  // `media`: the bytes of request.media, or null; shared with the other answers of the request.
  Relay(WorkerPool& pool, v1::GenerateRequest request, std::shared_ptr<const LoadedMedia> media,
        OutputText text, std::function<void()> wake, RouterMetrics& metrics,
        const Options& options);
  ~Relay() { Cancel(); }
  Relay(const Relay&) = delete;
  Relay& operator=(const Relay&) = delete;

  // UNAVAILABLE, RESOURCE_EXHAUSTED: no worker takes it.
  absl::Status Start();
  // What came since the last call, up to the end of the answer. An error means that the answer
  // ended without a finish reason; it is returned until the relay is destroyed.
  absl::Status Take(RelayDelta& delta);
  // Ends the stream at the worker, if it still runs.
  void Cancel();

  bool done() const { return done_; }
  int generated_tokens() const { return generated_tokens_; }  // As usage counts: to the cut.
  int prompt_tokens() const { return request_.prompt_tokens_size(); }
  const v1::GenerateRequest& request() const { return request_; }
  int reasoning_tokens() const { return text_.reasoning_tokens(); }
  const std::string& stop_string() const { return text_.stop_string(); }
  int tool_call_count() const { return text_.tool_call_count(); }
  const v1::Ledger& ledger() const { return ledger_; }

 private:
  absl::Status Place();
  absl::Status TakeReply(v1::GenerateReply& reply, RelayDelta& delta);
  absl::Status Lost(const absl::Status& reason);
  void TakeToken(int id, v1::TokenLogprobs* logprobs, RelayDelta& delta);
  void End(v1::FinishReason reason, RelayDelta& delta);
  bool IsStop(int id) const;

  WorkerPool& pool_;
  const v1::GenerateRequest request_;
  const std::shared_ptr<const LoadedMedia> media_;
  OutputText text_;
  const std::function<void()> wake_;
  RouterMetrics& metrics_;
  const Options options_;

  std::shared_ptr<Mailbox> mailbox_;  // Shared with the worker client.
  std::optional<WorkerPool::Stream> stream_;
  absl::flat_hash_set<int> tried_;
  bool done_ = false;
  absl::Status error_;
  int generated_tokens_ = 0;
  v1::Ledger ledger_;
};

}  // namespace facet

#endif  // FACET_ROUTER_RELAY_H_
