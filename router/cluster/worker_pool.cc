#include "router/cluster/worker_pool.h"

#include <algorithm>
#include <cstring>
#include <ctime>
#include <map>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "router/api/model_name.h"

namespace facet {
namespace {

constexpr double kAnswerSmoothing = 0.02;  // Weight of the newest in the average of answers.

bool IsServing(const WorkerSnapshot& worker) {
  return worker.ready && !worker.draining && !worker.excluded;
}

// So that Place gives a worker no more than one step's worth of requests. RESOURCE_EXHAUSTED if no
// worker has room. Where one has, its prompt may go to one that has room for requests but computes
// other prompts yet: if that is sooner, for the sake of what it has cached.
absl::Status HoldToRoom(std::vector<WorkerSnapshot>& workers) {
  bool serving = false, room_anywhere = false;
  for (WorkerSnapshot& worker : workers) {
    if (!IsServing(worker)) continue;
    serving = true;
    const Room room = RoomAt(worker);
    room_anywhere |= room.any();
    worker.excluded |= room.requests <= 0;
  }
  if (!serving || room_anywhere) return absl::OkStatus();
  return absl::ResourceExhaustedError("All workers are full; try again later.");
}

}  // namespace

WorkerPool::WorkerPool(boost::asio::io_context& context, const std::vector<std::string>& addresses,
                       const WorkerClientOptions& options, const FailoverOptions& failover,
                       const AdmissionQueue::Options& queue, int wait_ms_max, int64_t pages_max,
                       RouterMetrics& metrics)
    : failover_(failover), metrics_(metrics), directory_(pages_max) {
  WaitingLineOptions line;
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

PlacementWish WorkerPool::WishOf(const v1::GenerateRequest& request,
                                 const SharedPageKeys& keys) const {
  const int resumed = request.resume_from_size();
  PlacementWish wish;
  wish.may_change_class = failover_.may_change_class;
  wish.prompt_tokens = static_cast<uint32_t>(request.prompt_tokens_size() + resumed);
  wish.answer_tokens =
      std::min<double>(answer_tokens_, static_cast<double>(request.tokens_max()) - resumed);
  wish.page_tokens = static_cast<uint32_t>(page_tokens_);
  wish.window_pages = static_cast<uint32_t>(window_pages_);
  wish.affinity = request.sampling().seed();
  if (!keys->empty()) {
    // The whole prompt, as far as it fills pages: prompts with a common beginning spread too.
    std::memcpy(&wish.affinity, keys->back().data(), sizeof(wish.affinity));
  }
  return wish;
}

void WorkerPool::LookUp(const v1::GenerateRequest& request, const SharedPageKeys& keys,
                        std::vector<WorkerSnapshot>& workers) const {
  if (!request.adapter().empty()) {
    for (int i = 0; i < static_cast<int>(workers.size()); ++i) {
      workers[i].excluded |= !HoldsAdapter(i, request.adapter(), request.adapter_digest());
    }
  }
  if (keys->empty() || request.has_prompt_logprobs()) return;
  const int page_tokens = page_tokens_;
  const int tokens = request.prompt_tokens_size() + request.resume_from_size();
  const size_t pages = (tokens - 1) / page_tokens;  // A worker computes at least the last token.
  thread_local std::vector<PageDirectory::Holding> holdings;
  holdings.resize(workers.size());
  directory_.Lookup(absl::MakeSpan(*keys).subspan(0, pages), absl::MakeSpan(holdings));
  for (size_t i = 0; i < workers.size(); ++i) {
    workers[i].cached_tokens = static_cast<uint32_t>(holdings[i].usable_pages * page_tokens);
    workers[i].held_tokens = static_cast<uint32_t>(holdings[i].told_pages * page_tokens);
  }
}

WorkerPool::Situation WorkerPool::SituationOf(const v1::GenerateRequest& request,
                                              const SharedPageKeys& keys) const {
  Situation situation{WishOf(request, keys), Snapshots()};
  LookUp(request, keys, situation.workers);
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
  auto [wish, snapshots] = SituationOf(request, options.keys);
  for (const int index : options.tried) snapshots[index].excluded = true;
  wish.numerics_class = options.numerics_class;
  if (options.is_new) RETURN_IF_ERROR(HoldToRoom(snapshots));
  // A worker may go away between the snapshot and the start; then the next one is asked.
  for (;;) {
    ASSIGN_OR_RETURN(const Placement placement, Place(snapshots, wish));
    WorkerClient* const worker = workers_[placement.worker].get();
    WorkerSnapshot& chosen = snapshots[placement.worker];
    const uint32_t computed = placement.estimate.computed_tokens;
    v1::KvSource source;
    if (placement.estimate.source >= 0) {
      source.set_address(std::string(placement.estimate.source_address));
      source.set_pages(snapshots[placement.estimate.source].held_tokens / wish.page_tokens);
    }
    const absl::StatusOr<uint64_t> id =
        worker->Start(request, source, computed, options.media, mailbox);
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
                  directory_.Expect(placement.worker, options.keys)};
  }
}

// A name has no line break.
std::string WorkerPool::LaneOf(const v1::GenerateRequest& request) {
  if (request.adapter().empty()) return "";
  return absl::StrCat(request.adapter(), "\n", request.adapter_digest());
}

WaitingLine::LaneRoom WorkerPool::RoomOf(const std::string& lane) const {
  const std::pair<std::string, std::string> adapter =
      absl::StrSplit(lane, absl::MaxSplits('\n', 1));
  WaitingLine::LaneRoom all;
  const std::vector<WorkerSnapshot> workers = Snapshots();
  for (int i = 0; i < static_cast<int>(workers.size()); ++i) {
    if (!IsServing(workers[i])) continue;
    if (!lane.empty() && !HoldsAdapter(i, adapter.first, adapter.second)) continue;
    all.serving = true;
    all.rows += workers[i].running_max;
    const Room room = RoomAt(workers[i]);
    if (!room.any()) continue;
    all.room.requests += room.requests;
    all.room.prompt_tokens += room.prompt_tokens;
  }
  return all;
}

WorkerPool::Cost WorkerPool::CostOf(const v1::GenerateRequest& request,
                                    const SharedPageKeys& keys) const {
  const auto [wish, workers] = SituationOf(request, keys);
  uint32_t cached = 0;
  for (const WorkerSnapshot& worker : workers) {
    if (IsServing(worker)) cached = std::max(cached, worker.cached_tokens);
  }
  return {static_cast<double>(wish.prompt_tokens - std::min(wish.prompt_tokens, cached)),
          wish.answer_tokens};
}

// Two that end at once may lose one of them, which changes next to nothing.
void WorkerPool::CountAnswer(int tokens) {
  answer_tokens_ = answer_tokens_ + kAnswerSmoothing * (tokens - answer_tokens_);
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
    page_tokens_ = static_cast<int>(model_->page_tokens);
    window_pages_ = (static_cast<int>(model_->window_tokens) + page_tokens_ - 1) / page_tokens_;
    directory_.SetWindow(window_pages_);
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
