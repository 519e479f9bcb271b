#include "router/cluster/worker_pool.h"

#include <algorithm>
#include <ctime>
#include <map>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "router/api/model_name.h"

namespace facet {

WorkerPool::WorkerPool(boost::asio::io_context& context, const std::vector<std::string>& addresses,
                       const WorkerClientOptions& options, const FailoverOptions& failover,
                       const AdmissionQueue::Options& queue, int wait_ms_max, int64_t pages_max,
                       RouterMetrics& metrics)
    : failover_(failover), metrics_(metrics), directory_(pages_max) {
  LineOptions line;
  line.queue = queue;
  line.wait_ms_max = wait_ms_max;
  line.no_worker_wait_ms = failover.worker_wait_ms;
  line_ = std::make_unique<WaitingLine>(context, line,
                                        [this](const std::string& lane) { return RoomOf(lane); });
  for (const std::string& address : addresses) {
    const int index = static_cast<int>(workers_.size());
    WorkerClient::Listeners listeners;
    listeners.accept = [this](const v1::DescribeReply& description) { return Accept(description); };
    listeners.on_pages = [this, index](absl::Span<const PageEvent> events) {
      directory_.Apply(index, events);
    };
    listeners.on_pages_gone = [this, index] { directory_.RemoveWorker(index); };
    listeners.on_load = [this] { line_->Notify(); };
    workers_.push_back(
        WorkerClient::Connect(context, address, options, std::move(listeners), metrics));
  }
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

std::vector<WorkerSnapshot> WorkerPool::Snapshots() const {
  std::vector<WorkerSnapshot> snapshots;
  snapshots.reserve(workers_.size());
  for (const auto& worker : workers_) snapshots.push_back(worker->Snapshot());
  return snapshots;
}

std::vector<std::string> WorkerPool::HeldAdapters() const {
  std::set<std::string> names;
  for (const auto& worker : workers_) {
    const std::shared_ptr<const AdapterDigests> adapters = worker->adapters();
    if (adapters == nullptr) continue;
    for (const auto& [name, digest] : *adapters) names.insert(name);
  }
  return {names.begin(), names.end()};
}

bool WorkerPool::HoldsAdapter(int worker, const std::string& name,
                              const std::string& digest) const {
  const std::shared_ptr<const AdapterDigests> adapters = workers_[worker]->adapters();
  if (adapters == nullptr) return false;
  const auto found = adapters->find(name);
  return found != adapters->end() && (digest.empty() || found->second == digest);
}

absl::StatusOr<std::string> WorkerPool::DigestOfAdapter(const std::string& name) const {
  std::map<std::string, int> holders;  // By digest, so that all routers choose the same of equals.
  for (const auto& worker : workers_) {
    const std::shared_ptr<const AdapterDigests> adapters = worker->adapters();
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
  const std::vector<WorkerSnapshot> snapshots = Snapshots();
  return !absl::IsUnavailable(Place(snapshots).status());
}

Situation WorkerPool::SituationOf(const v1::GenerateRequest& request,
                                  const SharedPageKeys& keys) const {
  std::vector<WorkerSnapshot> workers = Snapshots();
  if (!request.adapter().empty()) {
    for (int i = 0; i < static_cast<int>(workers.size()); ++i) {
      workers[i].excluded |= !HoldsAdapter(i, request.adapter(), request.adapter_digest());
    }
  }
  Situation situation = facet::SituationOf(request, keys, shape(), directory_, std::move(workers));
  situation.wish.may_change_class = failover_.may_change_class;
  return situation;
}

absl::StatusOr<PageDirectory::Expected> WorkerPool::PlaceElsewhere(
    const v1::GenerateRequest& request, const SharedPageKeys& keys, ChooseElsewhere choose) {
  absl::MutexLock placing(&placing_mutex_);
  ASSIGN_OR_RETURN(const Elsewhere chosen, choose(SituationOf(request, keys)));
  workers_[chosen.worker]->CountElsewhere(chosen.computed_tokens);
  return directory_.Expect(chosen.worker, keys);
}

absl::StatusOr<WorkerPool::Stream> WorkerPool::Start(const v1::GenerateRequest& request,
                                                     const StartOptions& options,
                                                     std::shared_ptr<Mailbox> mailbox) {
  absl::MutexLock placing(&placing_mutex_);
  Situation situation = SituationOf(request, options.keys);
  auto& [wish, snapshots] = situation;
  for (const int index : options.tried) snapshots[index].excluded = true;
  wish.numerics_class = options.numerics_class;
  if (options.is_new) RETURN_IF_ERROR(HoldToRoom(absl::MakeSpan(snapshots)));
  // A worker may go away between the snapshot and the start; then the next one is asked.
  for (;;) {
    ASSIGN_OR_RETURN(const Placement placement, Place(snapshots, wish));
    WorkerClient* const worker = workers_[placement.worker].get();
    WorkerSnapshot& chosen = snapshots[placement.worker];
    const uint32_t computed = placement.estimate.computed_tokens;
    const absl::StatusOr<uint64_t> id = worker->Start(
        request, SourceOf(situation, placement.estimate), computed, options.media, mailbox);
    if (!id.ok()) {
      chosen.excluded = true;
      continue;
    }
    const uint32_t pulled = placement.estimate.pulled_tokens;
    metrics_.placed_cached_tokens.Increment(wish.prompt_tokens - computed - pulled);
    metrics_.placed_pulled_tokens.Increment(pulled);
    metrics_.placed_computed_tokens.Increment(computed);
    return Stream{worker,
                  placement.worker,
                  *id,
                  std::string(chosen.address),
                  chosen.numerics_class,
                  placement.exact,
                  Explain(chosen, placement.estimate),
                  ServiceSeconds(situation, placement.worker, placement.estimate),
                  directory_.Expect(placement.worker, options.keys)};
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
  std::vector<WorkerSnapshot> workers = Snapshots();
  for (int i = 0; i < static_cast<int>(workers.size()); ++i) {
    workers[i].excluded |= !lane.empty() && !HoldsAdapter(i, adapter.first, adapter.second);
  }
  return RoomOfAll(workers);
}

RequestCost WorkerPool::CostOf(const v1::GenerateRequest& request,
                               const SharedPageKeys& keys) const {
  return facet::CostOf(SituationOf(request, keys));
}

double WorkerPool::ServiceSecondsOf(const v1::GenerateRequest& request,
                                    const SharedPageKeys& keys) const {
  return shape().service_factor * LeastServiceSeconds(SituationOf(request, keys));
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
absl::Status WorkerPool::Accept(const v1::DescribeReply& description) {
  absl::MutexLock lock(&mutex_);
  if (model_ == nullptr) {
    absl::StatusOr<std::shared_ptr<const ServedModel>> model =
        MakeServedModel(description, std::time(nullptr));
    if (!model.ok()) return model.status();
    model_ = *std::move(model);
    shape_.page_tokens = static_cast<int>(model_->page_tokens);
    shape_.window_pages =
        (static_cast<int>(model_->window_tokens) + shape_.page_tokens - 1) / shape_.page_tokens;
    directory_.SetWindow(shape_.window_pages);
    return absl::OkStatus();
  }
  if (description.model_digest() != model_->digest) {
    return absl::FailedPreconditionError(absl::StrCat(
        "it serves ", description.model_name(), " with digest ",
        absl::BytesToHexString(description.model_digest()), ", but this router serves ",
        model_->name, " with digest ", absl::BytesToHexString(model_->digest)));
  }
  if (description.page_tokens() != model_->page_tokens ||
      description.context_tokens_max() < model_->context_tokens_max) {
    return absl::FailedPreconditionError(
        absl::StrCat("its pages have ", description.page_tokens(), " tokens and its context ",
                     description.context_tokens_max(), ", but this router's have ",
                     model_->page_tokens, " and ", model_->context_tokens_max));
  }
  return absl::OkStatus();
}

}  // namespace facet
