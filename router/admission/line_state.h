#ifndef FACET_ROUTER_ADMISSION_LINE_STATE_H_
#define FACET_ROUTER_ADMISSION_LINE_STATE_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "router/admission/admission_queue.h"
#include "router/admission/drain_rate.h"
#include "router/admission/row_shares.h"
#include "router/cluster/placement.h"

namespace facet {

struct LineOptions {
  AdmissionQueue::Options queue;
  int wait_ms_max = 600'000;       // Of one answer, while workers are there.
  int no_worker_wait_ms = 15'000;  // While none is.
};

// What the waiting line decides: whose turn has come, and who is refused. Holds no lock and no
// clock, and asks for the workers' room through what each call is given, so that equal calls give
// equal decisions.
//
// An answer waits from Enter on, until it is refused, which ends it here, or its turn comes; then
// it is to go to a worker at once and Leave, or to WaitOn.
class LineState {
 public:
  // What the workers of a lane together have. An empty lane is that of answers that any worker will
  // do for.
  using RoomFunction = absl::FunctionRef<FleetRoom(const std::string& lane)>;

  // UNAVAILABLE, with the reason as `code` and the time until it is worth to try again.
  struct Refused {
    uint64_t id;
    absl::Status reason;
  };
  // In the order in which it was decided. `turns`: there is room; `claims`: their turn has come
  // too, and each is to take the place of another tenant's answer, by a higher priority
  // (row_shares.h).
  struct Decision {
    std::vector<uint64_t> turns;
    std::vector<uint64_t> claims;
    std::vector<Refused> refused;
  };

  explicit LineState(const LineOptions& options) : options_(options), queue_(options.queue) {}

  // Puts an answer into the line and gives its id; its deadline is held to wait_ms_max. An error,
  // as Refused has: not even that. Others that have to give way go to `refused`.
  absl::StatusOr<uint64_t> Enter(QueuedAnswer answer, double now_s, RoomFunction room,
                                 std::vector<Refused>& refused);
  // There was no room after all: it waits on, at its old place. Ignored if it has no turn.
  void WaitOn(uint64_t id);
  // It waits no more. Ignored if it is not there.
  void Leave(uint64_t id);
  Decision Decide(double now_s, RoomFunction room);
  // An answer of the tenant is at a worker, from Begin to End.
  void Begin(const std::string& tenant, double weight) { shares_.Begin(tenant, weight); }
  void End(const std::string& tenant) { shares_.End(tenant); }
  // Nobody will be served any more.
  std::vector<Refused> RefuseAll();

  // How long it has waited; of one that is there.
  double WaitedS(uint64_t id, double now_s) const { return now_s - entries_.at(id).entered_s; }
  size_t waiting() const { return queue_.size(); }  // Without a turn.
  size_t bytes() const { return queue_.bytes(); }
  int64_t turns() const { return turns_; }
  bool serving() const { return serving_; }
  std::optional<double> tokens_per_s() const { return rate_.tokens_per_s(); }
  std::vector<AdmissionQueue::TenantView> Tenants() const { return queue_.Tenants(); }

 private:
  struct Entry {
    QueuedAnswer answer;
    double entered_s;
    bool has_turn = false;
  };
  using Rooms = std::map<std::string, FleetRoom>;  // By lane, less what has a turn already.

  // Asks for it once in a decision.
  FleetRoom& RoomOf(const std::string& lane, RoomFunction room, Rooms& rooms);
  void RefuseLate(double now_s, Decision& decision);
  void RefuseForlorn(double now_s, RoomFunction room, Rooms& rooms, Decision& decision);
  void GiveTurns(RoomFunction room, Rooms& rooms, Decision& decision);
  void GiveClaims(RoomFunction room, Rooms& rooms, Decision& decision);
  void GiveTurn(const QueuedAnswer& answer, Rooms& rooms);
  void EndTurn(const Entry& entry);
  std::optional<double> WaitOf(const QueuedAnswer& answer) const;

  const LineOptions options_;
  AdmissionQueue queue_;
  RowShares shares_;  // Of those at workers, and of those whose turn has come.
  DrainRate rate_;
  std::map<uint64_t, Entry> entries_;
  uint64_t next_id_ = 1;
  bool serving_ = true;  // Some worker is there.
  // Lanes in which something waits and of which no worker is there.
  std::map<std::string, double> unserved_since_s_;
  double forlorn_looked_s_ = 0;
  // Those whose turn has come and that are at no worker yet.
  int64_t turns_ = 0;
  double turn_tokens_ = 0;
};

}  // namespace facet

#endif  // FACET_ROUTER_ADMISSION_LINE_STATE_H_
