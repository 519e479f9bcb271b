#include "router/worker_pool.h"

#include <ctime>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "router/model_name.h"

namespace facet {

WorkerPool::WorkerPool(boost::asio::io_context& context, const std::vector<std::string>& addresses,
                       const WorkerClientOptions& options, const FailoverOptions& failover,
                       RouterMetrics& metrics)
    : failover_(failover) {
  for (const std::string& address : addresses) {
    workers_.push_back(WorkerClient::Connect(
        context, address, options,
        [this](const v1::DescribeReply& description) { return Accept(description); }, metrics));
  }
}

std::shared_ptr<const ServedModel> WorkerPool::model() const {
  absl::MutexLock lock(&mutex_);
  return model_;
}

absl::StatusOr<std::shared_ptr<const ServedModel>> WorkerPool::FindModel(
    const std::string& name) const {
  std::shared_ptr<const ServedModel> found = model();
  if (found == nullptr) return absl::UnavailableError("No worker is ready; try again later.");
  ASSIGN_OR_RETURN(const std::string adapter, AdapterOfModelName(*found, name));
  if (!adapter.empty() && !KnowsAdapter(adapter)) return ModelNotFound(*found, name);
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
  for (const WorkerSnapshot& worker : Snapshots()) {
    if (!worker.ready || worker.adapters == nullptr) continue;
    for (const auto& [name, digest] : *worker.adapters) names.insert(name);
  }
  return {names.begin(), names.end()};
}

bool WorkerPool::KnowsAdapter(const std::string& name) const {
  for (const auto& worker : workers_) {
    const WorkerSnapshot snapshot = worker->Snapshot();
    if (snapshot.ready && FindAdapter(snapshot, name) != nullptr) return true;
  }
  absl::MutexLock lock(&mutex_);
  return wanted_adapters_.count(name) > 0;
}

void WorkerPool::SetWantedAdapters(std::set<std::string> names) {
  absl::MutexLock lock(&mutex_);
  wanted_adapters_ = std::move(names);
}

bool WorkerPool::ready() const {
  const std::vector<WorkerSnapshot> snapshots = Snapshots();
  return !absl::IsUnavailable(Place(snapshots).status());
}

absl::StatusOr<WorkerPool::Stream> WorkerPool::Start(v1::GenerateRequest& request,
                                                     std::shared_ptr<const LoadedMedia> media,
                                                     const PlacementWish& wish,
                                                     const absl::flat_hash_set<int>& tried,
                                                     std::shared_ptr<Mailbox> mailbox) {
  std::vector<WorkerSnapshot> snapshots = Snapshots();
  for (const int index : tried) snapshots[index].excluded = true;
  // A worker may go away between the snapshot and the start; then the next one is asked.
  for (;;) {
    ASSIGN_OR_RETURN(const Placement placement, Place(snapshots, wish));
    WorkerClient* const worker = workers_[placement.worker].get();
    WorkerSnapshot& chosen = snapshots[placement.worker];
    if (!wish.adapter.empty()) {
      request.set_adapter_digest(*FindAdapter(chosen, wish.adapter));
    }
    const absl::StatusOr<uint64_t> id = worker->Start(request, media, mailbox);
    if (id.ok()) {
      return Stream{worker,         placement.worker,      *id,
                    chosen.address, chosen.numerics_class, placement.exact};
    }
    chosen.excluded = true;
  }
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
