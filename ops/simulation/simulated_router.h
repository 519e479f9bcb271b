#ifndef FACET_OPS_SIMULATION_SIMULATED_ROUTER_H_
#define FACET_OPS_SIMULATION_SIMULATED_ROUTER_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ops/simulation/cost_table.h"
#include "ops/simulation/event_queue.h"
#include "ops/simulation/simulated_worker.h"
#include "ops/simulation/trace.h"
#include "proto/worker.pb.h"
#include "router/admission/line_state.h"
#include "router/cluster/page_directory.h"
#include "router/cluster/situation.h"
#include "router/cluster/worker_load.h"

namespace facet {

// How a worker is chosen: as the product does, or, to compare with, in turn, or where the fewest
// requests are. What waits and who is next is the product's in each case.
enum class Policy { kFacet, kRoundRobin, kLeastRequests };

// What became of one request.
struct RequestRecord {
  enum class Outcome { kRunning, kFinished, kRefused, kDeadline, kFailed };
  Outcome outcome = Outcome::kRunning;
  std::string reason;        // Of a refusal or failure.
  int retry_after_s = 0;     // Of a refusal.
  double first_token_s = 0;  // When it came; 0: it did not.
  double last_token_s = 0;
  double end_s = 0;
  int prompt_tokens = 0, cached_tokens = 0, pulled_tokens = 0;  // At the worker that ended it.
  int generated_tokens = 0;
  int failovers = 0;
  int worker = -1;  // The last.
};

// A router under virtual time: what the product decides by, and what it would do; text and sockets
// are left out. One thread.
class SimulatedRouter {
 public:
  struct Options {
    Policy policy = Policy::kFacet;
    double news_delay_s = 0;  // By which it hears later than the first of several.
    int64_t index_pages_max = 1 << 20;
    LineOptions line;
    int worker_wait_ms = 15'000;
    double tenant_weight = 1;
  };
  // All that is given must outlive it.
  SimulatedRouter(int index, const Options& options, const CostTable& costs, EventQueue& events,
                  std::vector<std::unique_ptr<SimulatedWorker>>& workers);
  ~SimulatedRouter();

  // A client sends a request, now. What becomes of it goes to `record`, and the pauses between its
  // tokens to `pauses_s`.
  void Arrive(const TraceRequest& trace, uint64_t seed, RequestRecord& record,
              std::vector<float>& pauses_s);

  // From workers, when it happens there.
  void OnOutputs(int worker, std::vector<SimulatedWorker::Output> outputs);
  void OnNews(int worker, const v1::Load& load, std::vector<PageEvent> pages);
  // Its connection is lost, or there again.
  void OnLost(int worker);
  void OnReturned(int worker);

  int64_t running() const { return static_cast<int64_t>(answers_.size()); }
  size_t waiting() const { return line_.waiting(); }

 private:
  struct Answer;
  struct Link {
    WorkerLoad load;
    bool ready = false;
    uint64_t life = 0;                     // What an earlier one sent is let go.
    std::map<uint64_t, uint64_t> answers;  // By stream, ascending.
  };

  std::vector<WorkerSnapshot> Snapshots() const;
  FleetRoom Room() const { return RoomOfAll(Snapshots()); }
  absl::StatusOr<Placement> Choose(const Situation& situation);
  absl::Status Place(uint64_t id, bool is_new);
  void EnterLine(uint64_t id);
  void TakeTurn(uint64_t id, bool claims);
  void Lose(uint64_t id, const char* reason);
  void GoOn(uint64_t id);
  bool SetTimeLeft(Answer& answer) const;
  void TakeReply(uint64_t id, const v1::GenerateReply& reply);
  // Its stream is over.
  void Detach(Answer& answer);
  void End(uint64_t id, RequestRecord::Outcome outcome, const std::string& reason);
  void Refuse(uint64_t id, const absl::Status& reason);
  void DecideSoon();
  void Decide();

  const int index_;
  const Options options_;
  const CostTable& costs_;
  EventQueue& events_;
  std::vector<std::unique_ptr<SimulatedWorker>>& workers_;
  PageDirectory directory_;
  LineState line_;
  ServedShape shape_;
  std::vector<std::string> addresses_;
  std::vector<uint64_t> address_digests_;
  std::vector<Link> links_;
  std::map<uint64_t, std::unique_ptr<Answer>> answers_;
  std::map<uint64_t, uint64_t> in_line_;  // By the line's id.
  uint64_t next_answer_ = 1, next_stream_ = 1;
  bool decision_planned_ = false, tick_planned_ = false;
  int last_in_turn_ = -1;  // Of kRoundRobin.
};

}  // namespace facet

#endif  // FACET_OPS_SIMULATION_SIMULATED_ROUTER_H_
