#include "router/cluster/worker_pool.h"

#include <algorithm>
#include <ctime>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "router/api/model_name.h"

namespace facet {

std::vector<WorkerSnapshot> SnapshotsOf(const Fleet::Members& members) {
  std::vector<WorkerSnapshot> snapshots;
  snapshots.reserve(members.size());
  for (const Fleet::Member& member : members) {
    snapshots.push_back(member.client->Snapshot());
    snapshots.back().id = member.id;
  }
  return snapshots;
}

WorkerPool::WorkerPool(boost::asio::io_context& context, const WorkerClientOptions& options,
                       const FailoverOptions& failover, const AdmissionQueue::Options& queue,
                       int wait_ms_max, int64_t pages_max, std::function<void()> on_lost,
                       RouterMetrics& metrics)
    : context_(context),
      worker_options_(options),
      failover_(failover),
      on_lost_(std::move(on_lost)),
      metrics_(metrics),
      directory_(pages_max) {
  LineOptions line;
  line.queue = queue;
  line.wait_ms_max = wait_ms_max;
  line.no_worker_wait_ms = failover.worker_wait_ms;
  line_ = std::make_unique<WaitingLine>(context, line,
                                        [this](const std::string& lane) { return RoomOf(lane); });
  fleet_ = std::make_unique<Fleet>(
      [this](const std::string& address, int id) { return Connect(address, id); },
      [this](int id) { directory_.RemoveWorker(id); });
}

std::unique_ptr<WorkerClient> WorkerPool::Connect(const std::string& address, int id) {
  WorkerClient::Listeners listeners;
  listeners.accept = [this](const v1::DescribeReply& description) { return Accept(description); };
  listeners.on_pages = [this, id](absl::Span<const PageEvent> events) {
    directory_.Apply(id, events);
  };
  listeners.on_pages_gone = [this, id] { directory_.RemoveWorker(id); };
  listeners.on_load = [this] { line_->Notify(); };
  listeners.on_lost = on_lost_;
  return WorkerClient::Connect(context_, address, worker_options_, std::move(listeners), metrics_);
}

// The line asks for the room of workers that are still there.
WorkerPool::~WorkerPool() { line_->Stop(); }

std::shared_ptr<const ServedModel> WorkerPool::model() const {
  absl::MutexLock lock(&mutex_);
  return model_;
}

absl::StatusOr<std::shared_ptr<const ServedModel>> WorkerPool::FindModel(
    const std::string& name, std::string* adapter_digest) const {
  std::shared_ptr<const ServedModel> found = model();
  if (found == nullptr) return absl::UnavailableError("No worker is ready; try again later.");
  ASSIGN_OR_RETURN(const std::string adapter, AdapterOfModelName(*found, name));
  if (adapter.empty()) return found;
  absl::StatusOr<std::string> digest = DigestOfAdapter(adapter);
  if (!digest.ok()) return ModelNotFound(*found, name);
  if (adapter_digest != nullptr) *adapter_digest = *std::move(digest);
  return found;
}

std::vector<std::string> WorkerPool::HeldAdapters() const {
  std::set<std::string> names;
  const std::shared_ptr<const Fleet::Members> workers = members();
  for (const Fleet::Member& worker : *workers) {
    const std::shared_ptr<const AdapterDigests> adapters = worker.client->adapters();
    if (adapters == nullptr) continue;
    for (const auto& [name, digest] : *adapters) names.insert(name);
  }
  return {names.begin(), names.end()};
}

absl::StatusOr<std::string> WorkerPool::DigestOfAdapter(const std::string& name) const {
  std::map<std::string, int> holders;  // By digest, so that all routers choose the same of equals.
  const std::shared_ptr<const Fleet::Members> workers = members();
  for (const Fleet::Member& worker : *workers) {
    const std::shared_ptr<const AdapterDigests> adapters = worker.client->adapters();
    if (adapters == nullptr) continue;
    if (const auto found = adapters->find(name); found != adapters->end()) ++holders[found->second];
  }
  const auto most =
      std::max_element(holders.begin(), holders.end(),
                       [](const auto& a, const auto& b) { return a.second < b.second; });
  if (most != holders.end()) return most->first;
  absl::MutexLock lock(&mutex_);
  if (wanted_adapters_.count(name) > 0) return std::string();
  return absl::NotFoundError(absl::StrCat("no worker holds the adapter '", name, "'"));
}

void WorkerPool::SetWantedAdapters(std::set<std::string> names) {
  absl::MutexLock lock(&mutex_);
  wanted_adapters_ = std::move(names);
}

bool WorkerPool::ready() const {
  const std::shared_ptr<const Fleet::Members> workers = members();
  return !absl::IsUnavailable(Place(SnapshotsOf(*workers)).status());
}

Situation WorkerPool::SituationOf(const v1::GenerateRequest& request, const SharedPageKeys& keys,
                                  const Fleet::Members& members) const {
  std::vector<WorkerSnapshot> workers = SnapshotsOf(members);
  if (!request.adapter().empty()) {
    for (size_t i = 0; i < members.size(); ++i) {
      workers[i].excluded |=
          !members[i].client->HoldsAdapter(request.adapter(), request.adapter_digest());
    }
  }
  Situation situation = facet::SituationOf(request, keys, shape(), directory_, std::move(workers));
  situation.wish.may_change_class = failover_.may_change_class;
  return situation;
}

absl::StatusOr<WorkerPool::Promise> WorkerPool::PlaceElsewhere(const v1::GenerateRequest& request,
                                                               const SharedPageKeys& keys,
                                                               ChooseElsewhere choose) {
  absl::MutexLock placing(&placing_mutex_);
  const std::shared_ptr<const Fleet::Members> members = this->members();
  ASSIGN_OR_RETURN(const Elsewhere chosen, choose(SituationOf(request, keys, *members)));
  const Fleet::Member& worker = (*members)[chosen.worker];
  worker.client->CountElsewhere(chosen.computed_tokens);
  return Promise{worker.client, directory_.Expect(worker.id, keys)};
}

absl::StatusOr<WorkerPool::Stream> WorkerPool::Start(const v1::GenerateRequest& request,
                                                     const StartOptions& options,
                                                     std::shared_ptr<Mailbox> mailbox) {
  absl::MutexLock placing(&placing_mutex_);
  const std::shared_ptr<const Fleet::Members> members = this->members();
  Situation situation = SituationOf(request, options.keys, *members);
  auto& [wish, snapshots] = situation;
  for (WorkerSnapshot& worker : snapshots) {
    worker.excluded |= options.tried.contains(worker.address_digest);
  }
  wish.numerics_class = options.numerics_class;
  if (options.is_new) RETURN_IF_ERROR(HoldToRoom(absl::MakeSpan(snapshots)));
  // A worker may go away between the snapshot and the start; then the next one is asked.
  for (;;) {
    ASSIGN_OR_RETURN(const Placement placement, Place(snapshots, wish));
    const Fleet::Member& worker = (*members)[placement.worker];
    WorkerSnapshot& chosen = snapshots[placement.worker];
    const uint32_t computed = placement.estimate.computed_tokens;
    const absl::StatusOr<uint64_t> id = worker.client->Start(
        request, SourceOf(situation, placement.estimate), computed, options.media, mailbox);
    if (!id.ok()) {
      chosen.excluded = true;
      continue;
    }
    const uint32_t pulled = placement.estimate.pulled_tokens;
    metrics_.placed_cached_tokens.Increment(wish.prompt_tokens - computed - pulled);
    metrics_.placed_pulled_tokens.Increment(pulled);
    metrics_.placed_computed_tokens.Increment(computed);
    return Stream{worker.client,
                  *id,
                  chosen.address_digest,
                  std::string(chosen.address),
                  chosen.numerics_class,
                  placement.exact,
                  Explain(chosen, placement.estimate),
                  ServiceSeconds(situation, placement.worker, placement.estimate),
                  directory_.Expect(worker.id, options.keys)};
  }
}

// A name has no line break.
std::string WorkerPool::LaneOf(const v1::GenerateRequest& request) {
  if (request.adapter().empty()) return "";
  return absl::StrCat(request.adapter(), "\n", request.adapter_digest());
}

FleetRoom WorkerPool::RoomOf(const std::string& lane) const {
  const std::pair<std::string, std::string> adapter =
      absl::StrSplit(lane, absl::MaxSplits('\n', 1));
  const std::shared_ptr<const Fleet::Members> members = this->members();
  std::vector<WorkerSnapshot> workers = SnapshotsOf(*members);
  for (size_t i = 0; i < workers.size(); ++i) {
    workers[i].excluded |=
        !lane.empty() && !(*members)[i].client->HoldsAdapter(adapter.first, adapter.second);
  }
  return RoomOfAll(workers);
}

RequestCost WorkerPool::CostOf(const v1::GenerateRequest& request,
                               const SharedPageKeys& keys) const {
  const std::shared_ptr<const Fleet::Members> members = this->members();
  return facet::CostOf(SituationOf(request, keys, *members));
}

double WorkerPool::ServiceSecondsOf(const v1::GenerateRequest& request,
                                    const SharedPageKeys& keys) const {
  const std::shared_ptr<const Fleet::Members> members = this->members();
  return shape().service_factor * LeastServiceSeconds(SituationOf(request, keys, *members));
}

ServedShape WorkerPool::shape() const {
  absl::MutexLock lock(&mutex_);
  return shape_;
}

void WorkerPool::CountAnswer(int tokens, double seconds, double expected_s) {
  absl::MutexLock lock(&mutex_);
  facet::CountAnswer(tokens, seconds, expected_s, shape_);
}

void WorkerPool::CountLateAnswer() {
  absl::MutexLock lock(&mutex_);
  CountLate(shape_);
}

// The vocabulary is read under the lock: workers that connect meanwhile wait for it instead of
// reading it too.
std::optional<WorkerRefusal> WorkerPool::Accept(const v1::DescribeReply& description) {
  absl::MutexLock lock(&mutex_);
  std::optional<WorkerRefusal> refusal = CheckWorker(description, model_.get());
  if (refusal.has_value() || model_ != nullptr) return refusal;
  absl::StatusOr<std::shared_ptr<const ServedModel>> model =
      MakeServedModel(description, std::time(nullptr));
  if (!model.ok()) return WorkerRefusal{"bad_description", std::string(model.status().message())};
  model_ = *std::move(model);
  shape_.page_tokens = static_cast<int>(model_->page_tokens);
  shape_.window_pages =
      (static_cast<int>(model_->window_tokens) + shape_.page_tokens - 1) / shape_.page_tokens;
  directory_.SetWindow(shape_.window_pages);
  return std::nullopt;
}

}  // namespace facet
