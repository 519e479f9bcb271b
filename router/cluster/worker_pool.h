#ifndef FACET_ROUTER_CLUSTER_WORKER_POOL_H_
#define FACET_ROUTER_CLUSTER_WORKER_POOL_H_

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "router/admission/admission_queue.h"
#include "router/admission/waiting_line.h"
#include "router/cluster/fleet.h"
#include "router/cluster/mailbox.h"
#include "router/cluster/page_directory.h"
#include "router/cluster/placement.h"
#include "router/cluster/quarantine.h"
#include "router/cluster/situation.h"
#include "router/cluster/worker_client.h"
#include "router/metrics.h"
#include "router/text/served_model.h"

namespace facet {

// How answers survive their workers.
struct FailoverOptions {
  int worker_wait_ms = 15'000;  // That an answer waits for a worker that could go on.
  // Go on in another numerics class if no worker of the first is left; tokens may then differ from
  // those of an undisturbed answer.
  bool may_change_class = true;
};

// All workers of this router, and the one model that they serve: that of the first worker that
// was heard. A worker of another model is refused until it serves this one. Which workers there
// are is for others to say (SetWorkers). Safe to use from any thread.
class WorkerPool {
 public:
  // Keeps track of `pages_max` distinct cached pages. `on_lost`, which must not call the pool,
  // hears that a worker that was ready is not any more. `context` and `metrics` must outlive the
  // pool.
  WorkerPool(boost::asio::io_context& context, const WorkerClientOptions& options,
             const FailoverOptions& failover, const AdmissionQueue::Options& queue, int wait_ms_max,
             int64_t pages_max, std::function<void()> on_lost, RouterMetrics& metrics);
  // REQUIRES: as ~WorkerClient.
  ~WorkerPool();

  // From now on these are the workers. New ones are connected to; those that are not among them get
  // no new requests, and their running ones go on to their ends.
  void SetWorkers(const WantedWorkers& wanted) { fleet_->Set(wanted); }
  std::shared_ptr<const Fleet::Members> members() const { return fleet_->members(); }

  // Null until the first worker was heard.
  std::shared_ptr<const ServedModel> model() const;
  // The same, if it is the one of this name (router/api/model_name.h) and its adapter is known,
  // whose digest goes to `adapter_digest` if that is not null. UNAVAILABLE until the first worker
  // was heard, NOT_FOUND in OpenAI's form.
  absl::StatusOr<std::shared_ptr<const ServedModel>> FindModel(
      const std::string& name, std::string* adapter_digest = nullptr) const;
  const FailoverOptions& failover() const { return failover_; }
  // Whether a request could be placed now.
  bool ready() const;
  int64_t cached_page_count() const { return directory_.page_count(); }
  // The names of LoRA adapters that ready workers hold, ascending.
  std::vector<std::string> HeldAdapters() const;
  // Those that all workers are to hold.
  void SetWantedAdapters(std::set<std::string> names);

  // For those who look on, or choose themselves: `members` are the pool's, and the addresses in the
  // result are theirs.
  Situation SituationOf(const v1::GenerateRequest& request, const SharedPageKeys& keys,
                        const Fleet::Members& members) const;

  // A worker of a situation, and the tokens that it is to compute.
  struct Elsewhere {
    int worker;
    uint32_t computed_tokens;
  };
  // That a worker will get a request from somebody else; its pages are believed to be there for as
  // long as `expected` is not reset. The pool must outlive it.
  struct Promise {
    std::shared_ptr<WorkerClient> worker;  // Shared with the pool, and other requests.
    PageDirectory::Expected expected;
  };
  using ChooseElsewhere = absl::FunctionRef<absl::StatusOr<Elsewhere>(const Situation& situation)>;
  // Places a request that somebody else sends to where `choose` says: counted until that worker
  // reports. Errors are those of `choose`, which must not call the pool.
  absl::StatusOr<Promise> PlaceElsewhere(const v1::GenerateRequest& request,
                                         const SharedPageKeys& keys, ChooseElsewhere choose);

  // A request at a worker. The pool must outlive it.
  struct Stream {
    std::shared_ptr<WorkerClient> worker;  // Shared with the pool, and other requests.
    uint64_t id;
    uint64_t address_digest;  // As WorkerSnapshot.
    std::string address;
    uint64_t numerics_class;           // Of the worker.
    bool exact;                        // As Placement.
    std::string why;                   // The worker was chosen, as Explain.
    double service_s;                  // ServiceSeconds.
    PageDirectory::Expected expected;  // To be reset when the answer begins.
    // For who places it to set.
    std::unique_ptr<WaitingLine::AtWorker> at_worker = nullptr;
    std::unique_ptr<Quarantine::Stay> quarantine = nullptr;  // To be reset with a token.
  };
  // What a request wishes, beyond what it is.
  struct StartOptions {
    uint64_t numerics_class = 0;  // As PlacementWish.
    // Workers that are out of the question, by their address_digest.
    const absl::flat_hash_set<uint64_t>& tried;
    std::shared_ptr<const LoadedMedia> media;  // Or null; shared with other answers.
    SharedPageKeys keys;                       // RequestPageKeys; shared with other answers.
    // It has no answer yet, so it goes only where RoomAt says that there is room; else it must
    // wait in `line`. One that a worker has begun goes on wherever a worker takes it.
    bool is_new = false;
  };
  // Places the request and hands it over. UNAVAILABLE or RESOURCE_EXHAUSTED as Place.
  absl::StatusOr<Stream> Start(const v1::GenerateRequest& request, const StartOptions& options,
                               std::shared_ptr<Mailbox> mailbox);
  // An answer had so many tokens, `seconds` after it was given to a worker: what the next ones are
  // thought to have and to take.
  void CountAnswer(int tokens, double seconds, double expected_s) ABSL_LOCKS_EXCLUDED(mutex_);
  // A worker ended one at its deadline.
  void CountLateAnswer() ABSL_LOCKS_EXCLUDED(mutex_);

  // Where requests go on that may be what kills workers.
  Quarantine& quarantine() { return quarantine_; }

  // Where new requests wait while no worker has room for them.
  WaitingLine& line() { return *line_; }
  const WaitingLine& line() const { return *line_; }
  // Which workers will do for a request: QueuedAnswer::lane.
  static std::string LaneOf(const v1::GenerateRequest& request);
  RequestCost CostOf(const v1::GenerateRequest& request, const SharedPageKeys& keys) const;
  // How long before its deadline it must be at a worker, to end in time.
  double ServiceSecondsOf(const v1::GenerateRequest& request, const SharedPageKeys& keys) const;

 private:
  FleetRoom RoomOf(const std::string& lane) const;
  ServedShape shape() const ABSL_LOCKS_EXCLUDED(mutex_);
  // Of what most ready workers hold by that name. Empty: it is wanted, but no ready worker holds it
  // yet. NOT_FOUND: nobody knows it.
  absl::StatusOr<std::string> DigestOfAdapter(const std::string& name) const;
  std::unique_ptr<WorkerClient> Connect(const std::string& address, int id);
  std::optional<WorkerRefusal> Accept(const v1::DescribeReply& description);

  boost::asio::io_context& context_;
  const WorkerClientOptions worker_options_;
  const FailoverOptions failover_;
  const std::function<void()> on_lost_;
  RouterMetrics& metrics_;
  PageDirectory directory_;
  Quarantine quarantine_;
  ServedShape shape_ ABSL_GUARDED_BY(mutex_);
  // Requests are placed one after the other, so that each sees what those before it were given: two
  // equal prompts on two threads would part otherwise. Taken before any other lock.
  absl::Mutex placing_mutex_;
  mutable absl::Mutex mutex_;
  std::shared_ptr<const ServedModel> model_ ABSL_GUARDED_BY(mutex_);  // Shared with requests.
  std::set<std::string> wanted_adapters_ ABSL_GUARDED_BY(mutex_);
  // Before the workers, which tell it of their loads; asks for theirs as long as the pool is whole.
  std::unique_ptr<WaitingLine> line_;
  // Last, so that it ends first: its members call Accept.
  std::unique_ptr<Fleet> fleet_;
};

// What the router knows of each member now.
std::vector<WorkerSnapshot> SnapshotsOf(const Fleet::Members& members);

}  // namespace facet

#endif  // FACET_ROUTER_CLUSTER_WORKER_POOL_H_
