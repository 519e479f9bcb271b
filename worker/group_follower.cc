#include "worker/group_follower.h"

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "worker/group_task.h"

namespace facet {
namespace {

// More than the page tables of 64 sequences at full length take.
constexpr int64_t kTaskBytesMax = int64_t{64} << 20;

class Follower {
 public:
  explicit Follower(LoadedModel* model) : model_(*model), collective_(*model->collective) {}

  absl::Status Run() {
    while (true) {
      ASSIGN_OR_RETURN(const v1::GroupTask task, Receive());
      switch (task.task_case()) {
        case v1::GroupTask::kStep:
          RETURN_IF_ERROR(RunStep(task.step()));
          break;
        case v1::GroupTask::kDraft:
          RETURN_IF_ERROR(RunDraft(task.draft()));
          break;
        case v1::GroupTask::kPageCopy:
          model_.cache->FollowCopyBlocking(
              task.page_copy().sliding() ? KvPool::kSliding : KvPool::kFull,
              task.page_copy().page(), task.page_copy().to_device());
          break;
        case v1::GroupTask::kStop:
          collective_.Leave();
          return collective_.Barrier();
        case v1::GroupTask::TASK_NOT_SET:
          return absl::InvalidArgumentError("the leader sent a task of no known kind");
      }
    }
  }

 private:
  absl::StatusOr<v1::GroupTask> Receive() {
    int64_t size = 0;
    RETURN_IF_ERROR(collective_.Broadcast(&size, sizeof(size)));
    if (size < 1 || size > kTaskBytesMax) {
      return absl::InvalidArgumentError(
          absl::StrCat("the leader's task has ", size, " bytes, not 1 to ", kTaskBytesMax));
    }
    std::string bytes(size, '\0');
    RETURN_IF_ERROR(collective_.Broadcast(bytes.data(), size));
    v1::GroupTask task;
    if (!task.ParseFromString(bytes)) {
      return absl::InvalidArgumentError("the leader's task cannot be read");
    }
    if (task.sequence_number() != ++received_) {
      return absl::InvalidArgumentError(absl::StrCat("the leader's task has the number ",
                                                     task.sequence_number(), ", expected was ",
                                                     received_));
    }
    return task;
  }

  absl::Status RunStep(const v1::GroupStep& step) {
    std::vector<const Adapter*> adapters;
    for (const v1::GroupStep::Adapter& adapter : step.adapters()) {
      ASSIGN_OR_RETURN(const Adapter* found, FindOrLoad(adapter, step));
      adapters.push_back(found);
    }
    ASSIGN_OR_RETURN(const std::unique_ptr<FollowerBatch> follower, FromGroupStep(step, adapters));
    model_.runner->RunBlocking(follower->batch);
    return absl::OkStatus();
  }

  absl::Status RunDraft(const v1::GroupDraft& draft) {
    if (model_.drafter == nullptr) {
      return absl::InvalidArgumentError("the leader drafts, but this rank has no --assistant");
    }
    const std::unique_ptr<FollowerDraft> follower = FromGroupDraft(draft);
    model_.drafter->DraftBlocking(follower->rows, model_.runner->output_states(), draft.count());
    return absl::OkStatus();
  }

  // Under its digest, for names may change hands. Loaded when it is used first; those that the step
  // does not use make room.
  absl::StatusOr<const Adapter*> FindOrLoad(const v1::GroupStep::Adapter& adapter,
                                            const v1::GroupStep& step) {
    const std::string name = absl::BytesToHexString(adapter.digest());
    AdapterRegistry& registry = *model_.adapters;
    if (const auto found = registry.Find(name); found != nullptr) return found.get();
    absl::Status loaded = registry.BlockingLoad(name, adapter.path());
    if (absl::IsResourceExhausted(loaded)) {
      for (const AdapterRegistry::Entry& entry : registry.List()) {
        if (absl::c_any_of(step.adapters(),
                           [&](const auto& used) { return used.digest() == entry.digest; })) {
          continue;
        }
        RETURN_IF_ERROR(registry.Unload(entry.name));
      }
      loaded = registry.BlockingLoad(name, adapter.path());
    }
    RETURN_IF_ERROR(loaded);
    const auto found = registry.Find(name);
    if (found->digest != adapter.digest()) {
      return absl::FailedPreconditionError(
          absl::StrCat(adapter.path(), " holds another adapter here than at the leader"));
    }
    return found.get();
  }

  LoadedModel& model_;
  Collective& collective_;
  uint64_t received_ = 0;
};

}  // namespace

absl::Status BlockingFollow(LoadedModel& model) {
  const absl::Status status = Follower(&model).Run();
  if (!status.ok()) model.collective->Abort(status);
  return status;
}

}  // namespace facet
