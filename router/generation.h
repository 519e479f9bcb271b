#ifndef FACET_ROUTER_GENERATION_H_
#define FACET_ROUTER_GENERATION_H_

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "router/admission/tenant.h"
#include "router/api/request.h"
#include "router/cluster/relay.h"
#include "router/cluster/wake.h"
#include "router/cluster/worker_pool.h"
#include "router/metrics.h"
#include "router/text/served_model.h"

namespace facet {

struct Usage {
  int prompt_tokens = 0;
  int completion_tokens = 0;
  int cached_prompt_tokens = 0;
  int reasoning_tokens = 0;  // Of the completion's.
};

// One client request from the checked form to its end: all its answers, and what is measured of
// them. Both HTTP and gRPC use it. Belongs to one strand.
class Generation {
 public:
  // Builds the prompts and places all answers, or puts them in the pool's line. UNAVAILABLE,
  // RESOURCE_EXHAUSTED, NOT_FOUND, PERMISSION_DENIED or InvalidParam; the request is counted in any
  // case. `pool` and `metrics` must outlive it. REQUIRES: `request` has a tenant.
  static absl::StatusOr<std::unique_ptr<Generation>> Start(WorkerPool& pool, RouterMetrics& metrics,
                                                           GenerationRequest request,
                                                           boost::asio::any_io_executor executor);
  // Counts a request that ended before it came to be one.
  static void CountRefused(RouterMetrics& metrics, const char* endpoint,
                           const absl::Status& status);
  // Cancels what still runs.
  ~Generation();

  struct ChoiceDelta {
    int choice;
    RelayDelta delta;
  };
  // Returns when something came, when the client left (after Abandon), after `timeout_ms`, or when
  // it is time to look for a worker again.
  boost::asio::awaitable<void> Wait(int timeout_ms);
  // What came since the last call. An error ends the whole request, with all its answers.
  absl::StatusOr<std::vector<ChoiceDelta>> Take();
  // The client is gone: cancels all answers at their workers, now.
  void Abandon();

  bool abandoned() const { return abandoned_; }
  bool done() const;
  // A worker has one of its answers, now or before.
  bool placed() const;
  int choice_count() const { return static_cast<int>(choices_.size()); }
  const v1::GenerateRequest& sent(int choice) const { return choices_[choice].relay->request(); }
  const std::string& echo(int choice) const { return choices_[choice].echo; }
  int tool_call_count(int choice) const { return choices_[choice].relay->tool_call_count(); }
  // The stop string that ended an answer; empty if none did.
  const std::string& stop_string(int choice) const { return choices_[choice].relay->stop_string(); }
  // Where its first answer is computed, and why there.
  const std::string& worker() const { return choices_[0].relay->worker(); }
  const std::string& placement() const { return choices_[0].relay->why(); }
  Usage usage() const;
  const GenerationRequest& request() const { return request_; }
  const TenantRequest& tenant() const { return *request_.tenant; }
  const ServedModel& model() const { return *model_; }
  // What answers say that they are of: the model, and the adapter if there is one.
  const std::string& model_name() const {
    return request_.model.empty() ? model_->name : request_.model;
  }
  std::shared_ptr<Wake> wake() const { return wake_; }  // Shared with what may set it late.

 private:
  using Clock = std::chrono::steady_clock;

  struct Choice {
    std::unique_ptr<Relay> relay;
    std::string echo;
    Clock::time_point last_token = {};
    bool started = false;
  };

  Generation(RouterMetrics& metrics, GenerationRequest request,
             std::shared_ptr<const ServedModel> model, boost::asio::any_io_executor executor);
  absl::Status StartChoices(WorkerPool& pool);
  // From its tenant, as far as that bounds them.
  absl::Status TakeTokens(const WorkerPool& pool, const std::vector<BuiltChoice>& choices);
  void Measure(Choice& choice, const RelayDelta& delta);
  // Once, as soon as the end is known: before the client can hear of it.
  void CountEnd();
  void CountTenant();

  RouterMetrics& metrics_;
  const GenerationRequest request_;
  const std::shared_ptr<const ServedModel> model_;  // Shared with the pool.
  const std::shared_ptr<Wake> wake_;                // Shared with the mailboxes.
  const Clock::time_point received_ = Clock::now();
  std::vector<Choice> choices_;
  double expected_prompt_tokens_ = 0;  // That are computed; 0 if nobody wants to know.
  bool first_token_seen_ = false;
  bool abandoned_ = false;
  bool deadline_ = false;
  bool counted_ = false;
  absl::Status error_;
};

}  // namespace facet

#endif  // FACET_ROUTER_GENERATION_H_
