#ifndef FACET_ROUTER_ADMISSION_WAITING_LINE_H_
#define FACET_ROUTER_ADMISSION_WAITING_LINE_H_

#include <boost/asio/io_context.hpp>
#include <boost/json/fwd.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "router/admission/line_state.h"
#include "router/metrics.h"

namespace facet {

// The only queue of requests: what no worker has room for waits here, in the order that LineState
// decides, until a worker has, its deadline comes, or its client leaves. A tenant that has fewer of
// the workers' rows than its share (row_shares.h) does not wait until another's answers end: it
// takes the place of one. Decides when workers' loads change, and 20 times a second while something
// waits. All methods may be called from any thread.
class WaitingLine {
 public:
  // What the workers of a lane together have. Must not call the line. An empty lane is that of
  // answers that any worker will do for.
  using RoomFunction = std::function<FleetRoom(const std::string& lane)>;

  // `context` must outlive it.
  WaitingLine(boost::asio::io_context& context, const LineOptions& options, RoomFunction room);
  ~WaitingLine() { Stop(); }
  WaitingLine(const WaitingLine&) = delete;
  WaitingLine& operator=(const WaitingLine&) = delete;

  // Whether an answer's turn has come: there is room for it; or it is to take the place of another
  // tenant's, by a higher priority.
  enum class Turn { kNotYet, kRoom, kClaim };
  // An answer's place in the line. Leaves it when it is destroyed.
  class Ticket {
   public:
    virtual ~Ticket() = default;
    // If its turn has come, it may be given to a worker, and the ticket be destroyed. UNAVAILABLE,
    // with the reason as `code` and the time until it is worth to try again: it is refused.
    virtual absl::StatusOr<Turn> Look() = 0;
    // No worker took it after all: it waits on, at its old place.
    virtual void WaitOn() = 0;
  };
  // Puts an answer into the line; its id is the line's to choose, and its deadline is held to
  // wait_ms_max. `wake` is called, from any thread, when a Look is worth it. UNAVAILABLE as Look,
  // at once, if by all that is known it cannot be in time.
  absl::StatusOr<std::unique_ptr<Ticket>> Enter(QueuedAnswer answer, const TenantMetrics& metrics,
                                                std::function<void()> wake);

  // An answer of a tenant is at a worker for as long as this lives.
  class AtWorker {
   public:
    virtual ~AtWorker() = default;
  };
  std::unique_ptr<AtWorker> CountAtWorker(const std::string& tenant, double weight);

  // Nothing waits, so who comes need not either.
  bool empty() const { return waiting() == 0; }
  // Answers that have no turn yet.
  size_t waiting() const;
  // A worker's load may have changed. Costs next to nothing while the line is empty.
  void Notify();

  // `room` is not called any more when this returns; all that waits is refused.
  void Stop();

  // For people.
  boost::json::object Describe() const;

 private:
  class Core;
  const std::shared_ptr<Core> core_;  // Shared with tickets and what is posted.
};

}  // namespace facet

#endif  // FACET_ROUTER_ADMISSION_WAITING_LINE_H_
