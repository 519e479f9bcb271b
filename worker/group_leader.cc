#include "worker/group_leader.h"

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "base/check.h"
#include "worker/group_task.h"

namespace facet {
namespace {

// Has the followers do what the leader does. Stops them at its end.
class Tasks {
 public:
  explicit Tasks(std::shared_ptr<Collective> collective) : collective_(std::move(collective)) {}
  ~Tasks() {
    v1::GroupTask task;
    task.mutable_stop();
    collective_->Leave();
    // Whoever is gone needs no stop.
    Broadcast(task).IgnoreError();
    collective_->Barrier().IgnoreError();
  }

  void Send(v1::GroupTask task) {
    if (const absl::Status sent = Broadcast(task); !sent.ok()) EndWithGroup(sent);
  }

 private:
  absl::Status Broadcast(v1::GroupTask& task) {
    task.set_sequence_number(++sent_);
    std::string bytes = task.SerializeAsString();
    auto size = static_cast<int64_t>(bytes.size());
    if (absl::Status sent = collective_->Broadcast(&size, sizeof(size)); !sent.ok()) return sent;
    return collective_->Broadcast(bytes.data(), size);
  }

  const std::shared_ptr<Collective> collective_;  // shared with the model
  uint64_t sent_ = 0;
};

class LeadingRunner final : public ModelRunner {
 public:
  LeadingRunner(std::shared_ptr<Tasks> tasks, std::unique_ptr<ModelRunner> runner)
      : tasks_(std::move(tasks)), runner_(std::move(runner)) {}

  absl::Span<const float> RunBlocking(const Batch& batch) override {
    v1::GroupTask task;
    *task.mutable_step() = ToGroupStep(batch);
    tasks_->Send(std::move(task));
    return runner_->RunBlocking(batch);
  }
  const float* output_states() const override { return runner_->output_states(); }
  const ModelRunnerOptions& options() const override { return runner_->options(); }

 private:
  const std::shared_ptr<Tasks> tasks_;  // shared with drafter and cache
  const std::unique_ptr<ModelRunner> runner_;
};

class LeadingDrafter final : public Drafter {
 public:
  LeadingDrafter(std::shared_ptr<Tasks> tasks, std::unique_ptr<Drafter> drafter)
      : tasks_(std::move(tasks)), drafter_(std::move(drafter)) {}

  std::vector<int32_t> DraftBlocking(absl::Span<const Row> rows, const float* states, int count,
                                     Trace* trace) override {
    v1::GroupTask task;
    *task.mutable_draft() = ToGroupDraft(rows, count);
    tasks_->Send(std::move(task));
    return drafter_->DraftBlocking(rows, states, count, trace);
  }
  const DrafterOptions& options() const override { return drafter_->options(); }

 private:
  const std::shared_ptr<Tasks> tasks_;  // shared with runner and cache
  const std::unique_ptr<Drafter> drafter_;
};

}  // namespace

void LeadGroup(LoadedModel& model) {
  if (model.group->size() == 1) return;
  CHECK_EQ(model.group->rank(), 0);
  const auto tasks = std::make_shared<Tasks>(model.collective);
  model.runner = std::make_unique<LeadingRunner>(tasks, std::move(model.runner));
  if (model.drafter != nullptr) {
    model.drafter = std::make_unique<LeadingDrafter>(tasks, std::move(model.drafter));
  }
  model.cache->SetBeforeCopy([tasks](KvPool pool, int32_t page, bool to_device) {
    v1::GroupTask task;
    task.mutable_page_copy()->set_sliding(pool == KvPool::kSliding);
    task.mutable_page_copy()->set_page(page);
    task.mutable_page_copy()->set_to_device(to_device);
    tasks->Send(std::move(task));
  });
}

}  // namespace facet
