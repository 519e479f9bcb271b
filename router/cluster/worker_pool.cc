#include "router/cluster/worker_pool.h"

#include <algorithm>
#include <cstring>
#include <ctime>
#include <map>
#include <utility>

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

std::vector<WorkerSnapshot> SnapshotsOf(const Fleet::Members& members) {
  std::vector<WorkerSnapshot> snapshots;
  snapshots.reserve(members.size());
  for (const Fleet::Member& member : members) snapshots.push_back(member.client->Snapshot());
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
  WaitingLineOptions line;
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
                        Situation& situation) const {
  const Fleet::Members& members = *situation.members;
  if (!request.adapter().empty()) {
    for (size_t i = 0; i < members.size(); ++i) {
      situation.workers[i].excluded |=
          !members[i].client->HoldsAdapter(request.adapter(), request.adapter_digest());
    }
  }
  if (keys->empty() || request.has_prompt_logprobs()) return;
  const int page_tokens = page_tokens_;
  const int tokens = request.prompt_tokens_size() + request.resume_from_size();
  const size_t pages = (tokens - 1) / page_tokens;  // A worker computes at least the last token.
  thread_local std::vector<PageDirectory::Holding> holdings;
  directory_.Lookup(absl::MakeSpan(*keys).subspan(0, pages), holdings);
  for (size_t i = 0; i < members.size(); ++i) {
    if (members[i].id >= static_cast<int>(holdings.size())) continue;
    const PageDirectory::Holding& holding = holdings[members[i].id];
    WorkerSnapshot& worker = situation.workers[i];
    worker.cached_tokens = static_cast<uint32_t>(holding.usable_pages * page_tokens);
    worker.held_tokens = static_cast<uint32_t>(holding.told_pages * page_tokens);
  }
}

WorkerPool::Situation WorkerPool::SituationOf(const v1::GenerateRequest& request,
                                              const SharedPageKeys& keys) const {
  Situation situation;
  situation.wish = WishOf(request, keys);
  situation.members = members();
  situation.workers = SnapshotsOf(*situation.members);
  LookUp(request, keys, situation);
  return situation;
}

absl::StatusOr<WorkerPool::Promise> WorkerPool::PlaceElsewhere(const v1::GenerateRequest& request,
                                                               const SharedPageKeys& keys,
                                                               ChooseElsewhere choose) {
  absl::MutexLock placing(&placing_mutex_);
  const Situation situation = SituationOf(request, keys);
  ASSIGN_OR_RETURN(const Elsewhere chosen, choose(situation));
  const Fleet::Member& worker = (*situation.members)[chosen.worker];
  worker.client->CountElsewhere(chosen.computed_tokens);
  return Promise{worker.client, directory_.Expect(worker.id, keys)};
}

absl::StatusOr<WorkerPool::Stream> WorkerPool::Start(const v1::GenerateRequest& request,
                                                     const StartOptions& options,
                                                     std::shared_ptr<Mailbox> mailbox) {
  absl::MutexLock placing(&placing_mutex_);
  auto [wish, members, snapshots] = SituationOf(request, options.keys);
  for (WorkerSnapshot& worker : snapshots) {
    worker.excluded |= options.tried.contains(worker.address_digest);
  }
  wish.numerics_class = options.numerics_class;
  if (options.is_new) RETURN_IF_ERROR(HoldToRoom(snapshots));
  // A worker may go away between the snapshot and the start; then the next one is asked.
  for (;;) {
    ASSIGN_OR_RETURN(const Placement placement, Place(snapshots, wish));
    const Fleet::Member& worker = (*members)[placement.worker];
    WorkerSnapshot& chosen = snapshots[placement.worker];
    const uint32_t computed = placement.estimate.computed_tokens;
    v1::KvSource source;
    if (placement.estimate.source >= 0) {
      source.set_address(std::string(placement.estimate.source_address));
      source.set_pages(snapshots[placement.estimate.source].held_tokens / wish.page_tokens);
    }
    const absl::StatusOr<uint64_t> id =
        worker.client->Start(request, source, computed, options.media, mailbox);
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
                  directory_.Expect(worker.id, options.keys)};
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
  const std::shared_ptr<const Fleet::Members> workers = members();
  for (const Fleet::Member& worker : *workers) {
    const WorkerSnapshot snapshot = worker.client->Snapshot();
    if (!IsServing(snapshot)) continue;
    if (!lane.empty() && !worker.client->HoldsAdapter(adapter.first, adapter.second)) continue;
    all.serving = true;
    all.rows += snapshot.running_max;
    const Room room = RoomAt(snapshot);
    if (!room.any()) continue;
    all.room.requests += room.requests;
    all.room.prompt_tokens += room.prompt_tokens;
  }
  return all;
}

WorkerPool::Cost WorkerPool::CostOf(const v1::GenerateRequest& request,
                                    const SharedPageKeys& keys) const {
  const auto [wish, members, workers] = SituationOf(request, keys);
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
std::optional<WorkerRefusal> WorkerPool::Accept(const v1::DescribeReply& description) {
  absl::MutexLock lock(&mutex_);
  std::optional<WorkerRefusal> refusal = CheckWorker(description, model_.get());
  if (refusal.has_value() || model_ != nullptr) return refusal;
  absl::StatusOr<std::shared_ptr<const ServedModel>> model =
      MakeServedModel(description, std::time(nullptr));
  if (!model.ok()) return WorkerRefusal{"bad_description", std::string(model.status().message())};
  model_ = *std::move(model);
  page_tokens_ = static_cast<int>(model_->page_tokens);
  window_pages_ = (static_cast<int>(model_->window_tokens) + page_tokens_ - 1) / page_tokens_;
  directory_.SetWindow(window_pages_);
  return std::nullopt;
}

}  // namespace facet
