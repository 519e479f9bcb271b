#include "router/worker_pool.h"

#include <ctime>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "router/placement.h"

namespace facet {

WorkerPool::WorkerPool(boost::asio::io_context& context, const std::vector<std::string>& addresses,
                       const WorkerClientOptions& options, RouterMetrics& metrics) {
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

std::vector<WorkerSnapshot> WorkerPool::Snapshots() const {
  std::vector<WorkerSnapshot> snapshots;
  snapshots.reserve(workers_.size());
  for (const auto& worker : workers_) snapshots.push_back(worker->Snapshot());
  return snapshots;
}

bool WorkerPool::ready() const {
  const std::vector<WorkerSnapshot> snapshots = Snapshots();
  return !absl::IsUnavailable(Place(snapshots).status());
}

absl::StatusOr<WorkerPool::Stream> WorkerPool::Start(const v1::GenerateRequest& request,
                                                     std::shared_ptr<const LoadedMedia> media,
                                                     const absl::flat_hash_set<int>& tried,
                                                     std::shared_ptr<Mailbox> mailbox) {
  std::vector<WorkerSnapshot> snapshots = Snapshots();
  for (const int index : tried) snapshots[index].excluded = true;
  // A worker may go away between the snapshot and the start; then the next one is asked.
  for (;;) {
    absl::StatusOr<Placement> placement = Place(snapshots);
    if (!placement.ok()) return placement.status();
    WorkerClient* const worker = workers_[placement->worker].get();
    const absl::StatusOr<uint64_t> id = worker->Start(request, media, mailbox);
    if (id.ok()) return Stream{worker, placement->worker, *id};
    snapshots[placement->worker].excluded = true;
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
